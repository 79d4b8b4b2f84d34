"""The messages and calls of the Remote Execution API that the client needs, as descriptors built at run time.

Generated code works only with protobuf of the version that generated it, and no package on PyPI holds this API's messages alone. So the
published field numbers stand here in a table, and protobuf makes classes of them: any protobuf from 3.20 on will do. Fields that we neither
write nor read are left out; protobuf keeps unknown fields apart, so that does no harm. The pool is private, because another package in the
same process may hold the same names.

Sources: build/bazel/remote/execution/v2/remote_execution.proto (API 2.3), build/bazel/semver/semver.proto, google/bytestream,
google/longrunning/operations.proto, google/rpc/status.proto, google/protobuf/any.proto and timestamp.proto.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_API = "build.bazel.remote.execution.v2"

# package: {message: "field:number:type …"}; a type in capitals is a message, with its package where that is another; `*` is repeated.
FIELDS: dict[str, dict[str, str]] = {
    "google.protobuf": {
        "Empty": "",
        "Any": "type_url:1:string value:2:bytes",
        "Timestamp": "seconds:1:int64 nanos:2:int32",
    },
    "google.rpc": {
        "Status": "code:1:int32 message:2:string",
    },
    "google.longrunning": {
        "Operation": (
            "name:1:string metadata:2:google.protobuf.Any done:3:bool error:4:google.rpc.Status response:5:google.protobuf.Any"
        ),
        "CancelOperationRequest": "name:1:string",
    },
    "google.bytestream": {
        "ReadRequest": "resource_name:1:string read_offset:2:int64 read_limit:3:int64",
        "ReadResponse": "data:10:bytes",
        "WriteRequest": "resource_name:1:string write_offset:2:int64 finish_write:3:bool data:10:bytes",
        "WriteResponse": "committed_size:1:int64",
    },
    "build.bazel.semver": {
        "SemVer": "major:1:int32 minor:2:int32",
    },
    _API: {
        "Digest": "hash:1:string size_bytes:2:int64",
        "Property": "name:1:string value:2:string",
        "Platform": "properties:1:Property*",
        "Action": (
            "command_digest:1:Digest input_root_digest:2:Digest do_not_cache:7:bool salt:9:bytes platform:10:Platform"
        ),
        "Command": "arguments:1:string* output_files:3:string* platform:5:Platform working_directory:6:string output_paths:7:string*",
        "FileNode": "name:1:string digest:2:Digest is_executable:4:bool",
        "DirectoryNode": "name:1:string digest:2:Digest",
        "Directory": "files:1:FileNode* directories:2:DirectoryNode*",
        "OutputFile": "path:1:string digest:2:Digest contents:5:bytes",
        "ExecutedActionMetadata": (
            "worker:1:string queued_timestamp:2:google.protobuf.Timestamp worker_start_timestamp:3:google.protobuf.Timestamp "
            "worker_completed_timestamp:4:google.protobuf.Timestamp"
        ),
        "ActionResult": (
            "output_files:2:OutputFile* exit_code:4:int32 stdout_raw:5:bytes stdout_digest:6:Digest stderr_raw:7:bytes "
            "stderr_digest:8:Digest execution_metadata:9:ExecutedActionMetadata"
        ),
        "GetActionResultRequest": (
            "instance_name:1:string action_digest:2:Digest inline_stdout:3:bool inline_stderr:4:bool inline_output_files:5:string*"
        ),
        "ExecuteRequest": (
            "instance_name:1:string skip_cache_lookup:3:bool action_digest:6:Digest inline_stdout:10:bool inline_stderr:11:bool "
            "inline_output_files:12:string*"
        ),
        "ExecuteResponse": "result:1:ActionResult cached_result:2:bool status:3:google.rpc.Status message:5:string",
        "ExecuteOperationMetadata": "stage:1:int32 action_digest:2:Digest",
        "WaitExecutionRequest": "name:1:string",
        "FindMissingBlobsRequest": "instance_name:1:string blob_digests:2:Digest*",
        "FindMissingBlobsResponse": "missing_blob_digests:2:Digest*",
        "Upload": "digest:1:Digest data:2:bytes",
        "BatchUpdateBlobsRequest": "instance_name:1:string requests:2:Upload*",
        "Uploaded": "digest:1:Digest status:2:google.rpc.Status",
        "BatchUpdateBlobsResponse": "responses:1:Uploaded*",
        "BatchReadBlobsRequest": "instance_name:1:string digests:2:Digest*",
        "Blob": "digest:1:Digest data:2:bytes status:3:google.rpc.Status",
        "BatchReadBlobsResponse": "responses:1:Blob*",
        "GetCapabilitiesRequest": "instance_name:1:string",
        "CacheCapabilities": "digest_functions:1:int32* max_batch_total_size_bytes:4:int64",
        "ExecutionCapabilities": "digest_function:1:int32 exec_enabled:2:bool digest_functions:5:int32*",
        "ServerCapabilities": (
            "cache_capabilities:1:CacheCapabilities execution_capabilities:2:ExecutionCapabilities "
            "low_api_version:4:build.bazel.semver.SemVer high_api_version:5:build.bazel.semver.SemVer"
        ),
    },
}  # fmt: skip

# What the published files nest in other messages stands flat above, under names of our own; only the full names of Any's content matter,
# and those are not nested: ExecuteResponse, ExecuteOperationMetadata.
NESTED = {
    "Property": "Platform.Property",
    "Upload": "BatchUpdateBlobsRequest.Request",
    "Uploaded": "BatchUpdateBlobsResponse.Response",
    "Blob": "BatchReadBlobsResponse.Response",
}

# name: (path of the call, request, response, the request is a stream, the response is one)
CALLS: dict[str, tuple[str, str, str, bool, bool]] = {
    "capabilities": (f"/{_API}.Capabilities/GetCapabilities", "GetCapabilitiesRequest", "ServerCapabilities", False, False),
    "cached": (f"/{_API}.ActionCache/GetActionResult", "GetActionResultRequest", "ActionResult", False, False),
    "missing": (
        f"/{_API}.ContentAddressableStorage/FindMissingBlobs", "FindMissingBlobsRequest", "FindMissingBlobsResponse", False, False,
    ),
    "update": (
        f"/{_API}.ContentAddressableStorage/BatchUpdateBlobs", "BatchUpdateBlobsRequest", "BatchUpdateBlobsResponse", False, False,
    ),
    "fetch": (f"/{_API}.ContentAddressableStorage/BatchReadBlobs", "BatchReadBlobsRequest", "BatchReadBlobsResponse", False, False),
    "read": ("/google.bytestream.ByteStream/Read", "ReadRequest", "ReadResponse", False, True),
    "write": ("/google.bytestream.ByteStream/Write", "WriteRequest", "WriteResponse", True, False),
    "execute": (f"/{_API}.Execution/Execute", "ExecuteRequest", "Operation", False, True),
    "wait": (f"/{_API}.Execution/WaitExecution", "WaitExecutionRequest", "Operation", False, True),
    "cancel": ("/google.longrunning.Operations/CancelOperation", "CancelOperationRequest", "Empty", False, False),
}  # fmt: skip

SHA256 = 1  # DigestFunction.Value

_TYPES = {
    kind: getattr(descriptor_pb2.FieldDescriptorProto, f"TYPE_{kind.upper()}") for kind in ("string", "bytes", "bool", "int32", "int64")
}


def _file(package: str, messages: dict[str, str]) -> Any:
    """Describe one package as protoc would."""
    out = descriptor_pb2.FileDescriptorProto(name=f"ldshim/{package}.proto", package=package, syntax="proto3")
    needed = set()
    for name, text in messages.items():
        message = out.message_type.add(name=name)
        for words in text.split():
            field, number, kind = words.split(":")
            repeated = kind.endswith("*")
            kind = kind.rstrip("*")
            made = message.field.add(name=field, number=int(number), label=3 if repeated else 1)  # LABEL_REPEATED, LABEL_OPTIONAL
            if kind in _TYPES:
                made.type = _TYPES[kind]
                continue
            made.type = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
            home, _, short = kind.rpartition(".")
            made.type_name = f".{home or package}.{short}"
            if home:
                needed.add(f"ldshim/{home}.proto")
    out.dependency.extend(sorted(needed))
    return out


def _classes() -> dict[str, Any]:
    """Make the class of every message, by its short name."""
    pool = descriptor_pool.DescriptorPool()
    if hasattr(message_factory, "GetMessageClass"):
        make = message_factory.GetMessageClass
    else:  # protobuf before 4.22; Debian 12 has 3.21
        make = message_factory.MessageFactory(pool).GetPrototype
    found = {}
    for package, messages in FIELDS.items():
        pool.AddSerializedFile(_file(package, messages).SerializeToString())
        for name in messages:
            found[name] = make(pool.FindMessageTypeByName(f"{package}.{name}"))
    return found


MESSAGES = _classes()


def __getattr__(name: str) -> Any:
    """Give a message's class by its name: messages.Digest."""
    try:
        return MESSAGES[name]
    except KeyError:
        raise AttributeError(name) from None
