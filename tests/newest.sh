#!/bin/sh
# Run the GCC and lld proofs against the newest toolchains: a Debian sid root made in SCRATCH (kept there for the next time), as root.
#
#     tests/newest.sh SCRATCH [PYTEST-ARGUMENTS]
#
# Needs debootstrap and Debian's package registry. The tests run inside the root, on its own Python, from a copy of this tree.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
root=$1/sid
shift
export DEBIAN_FRONTEND=noninteractive
[ -e "$root/etc/debian_version" ] || debootstrap --variant=minbase sid "$root"
for place in proc dev; do mountpoint -q "$root/$place" || mount --rbind "/$place" "$root/$place"; done
for file in /etc/resolv.conf /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
    [ ! -e "$file" ] || { mkdir -p "$root$(dirname "$file")" && cat "$file" > "$root$file"; }
done
# The registry may be a snapshot whose validity has passed.
chroot "$root" apt-get -o Acquire::Check-Valid-Until=false update -qq
chroot "$root" apt-get install -y -qq --no-install-recommends libc6-dev binutils make git strace python3-venv \
    gcc-13 gcc-14 gcc-15 gcc-16 clang-21 lld-21 llvm-21 clang-23 lld-23 llvm-23
# python3-venv brings a list of certificates of its own.
cat /etc/ssl/certs/ca-certificates.crt > "$root/etc/ssl/certs/ca-certificates.crt"
# sid has make 4.4 only; the older half of the proofs wants the 4.3 of Debian 12, which needs nothing but libc.
case $(make --version) in
*" 4.3"*) cat "$(command -v make)" > "$root/usr/local/bin/gmake" && chmod 755 "$root/usr/local/bin/gmake" ;;
esac
rm -rf "$root/root/ldshim"
mkdir -p "$root/root/ldshim"
(cd "$top" && tar -cf - --exclude=./.git --exclude=./.tox --exclude=./.venv .) | tar -C "$root/root/ldshim" -xf -
chroot "$root" env -i HOME=/root PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 CI=true \
    LDSHIM_TEST_GCC=13,14,15,16 LDSHIM_TEST_LLD=21,23 sh -euc '
    cd /root/ldshim
    [ -x /root/venv/bin/pip ] || python3 -m venv /root/venv
    /root/venv/bin/pip install -q ".[test]"
    exec /root/venv/bin/python -m pytest "$@"' sh "${@:-tests/toolchain/test_e2e_gcc.py}"
