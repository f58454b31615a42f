#!/usr/bin/env bash
# Installs the Debian or Ubuntu packages that a build needs, or says which ones are missing. Called by demo.sh, test.sh and .ci/run.
#
#   scripts/setup.sh [demo|test|ci]
#   scripts/setup.sh cuda [FOLDER]   nvcc, CUDA and cuDNN from NVIDIA's wheels on PyPI, into a folder (.cuda): no root, 2 GB
#
# With root (or sudo without a password) and a network it installs; otherwise it prints the apt line and exits with 1.
# demo.sh and test.sh then try anyway: the libraries may have come another way. Optional packages never stop anything.
set -u

if [ "${1:-}" = cuda ]; then
    folder=$(realpath -m "${2:-.cuda}")
    python3 -m venv "$folder" && "$folder/bin/pip" install -q --no-cache-dir nvidia-cuda-nvcc nvidia-cuda-runtime nvidia-cuda-cccl \
        nvidia-cublas "nvidia-cudnn-cu13>=9.8" || { echo "setup: python3 with venv, and a network, are needed for $folder" >&2; exit 1; }
    nvidia=$(echo "$folder"/lib/python3*/site-packages/nvidia)
    (cd "$nvidia/cu13/lib" && for file in lib*.so.*; do ln -sf "$file" "${file%%.so.*}.so"; done) || exit 1  # what CMake looks for
    printf 'setup: %s\n\n  export CUDAToolkit_ROOT=%s\n\nthen scripts/demo.sh, or any other build.\n' \
        "CUDA and cuDNN are in $folder; the NVIDIA driver is all else that is needed. To build with them:" "$nvidia/cu13"
    exit 0
fi

needed="g++ cmake ninja-build pkg-config libdnnl-dev libturbojpeg0-dev libjpeg-dev libstb-dev libexif-dev libzip-dev
        libcli11-dev nlohmann-json3-dev libfmt-dev libxxhash-dev zlib1g-dev"
optional="libopenmpi-dev openmpi-bin libhdf5-dev libyaml-cpp-dev libtiff-dev libwebp-dev libgif-dev libheif-dev libutf8proc-dev libcpp-httplib-dev ccache"
what=${1:-demo}
[ "$what" = demo ] || needed="$needed libgtest-dev" optional="$optional qemu-user-static"

# For this architecture: a library for cross compilers does not count.
installed() { dpkg-query -W -f='${Status} ${Architecture}\n' "$1" 2>/dev/null | grep -qE "ok installed ($architecture|all)$"; }
missing_of() { for package in $1; do installed "$package" || printf '%s ' "$package"; done; }

command -v dpkg-query >/dev/null || { echo "setup: not a Debian or Ubuntu system; using what is installed"; exit 0; }
architecture=$(dpkg --print-architecture)
# tests/format_test.sh wants clang-format 14: the package of that version, or the default where the distribution has no other.
known() { apt-cache show "$1" >/dev/null 2>&1; }
if [ "$what" != demo ] && ! installed clang-format-14; then
    if known clang-format-14; then optional="$optional clang-format-14"; else optional="$optional clang-format"; fi
fi
# scripts/clang_check.sh wants clang++ 14 or newer.
if [ "$what" = ci ]; then
    optional="$optional chromium python3"  # tests/review_browser_test.sh
    for version in 19 18 17 16 15 14; do
        if installed "clang-$version" || known "clang-$version"; then optional="$optional clang-$version"; break; fi
    done
fi
missing=$(missing_of "$needed")
wanted=$(missing_of "$optional")
[ -z "$missing$wanted" ] && exit 0

line="apt-get update && apt-get install -y --no-install-recommends $missing$wanted"
as_root=""
if [ "$(id -u)" != 0 ]; then
    if sudo -n true 2>/dev/null; then as_root="sudo"; else
        [ -z "$missing" ] && exit 0
        printf 'setup: these packages are missing; install them as root, then run this again:\n\n  %s\n\n' "$line"
        exit 1
    fi
fi
echo "setup: installing $missing$wanted"
export DEBIAN_FRONTEND=noninteractive
apt() { $as_root apt-get -qq -o Acquire::Retries=1 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 -o DPkg::Lock::Timeout=60 "$@"; }
apt update || echo "setup: apt-get update failed; trying with the lists that are here"
# shellcheck disable=SC2086
[ -z "$missing" ] || apt install -y --no-install-recommends $missing >/dev/null || true
for package in $wanted; do apt install -y --no-install-recommends "$package" >/dev/null 2>&1 || true; done
missing=$(missing_of "$needed")
[ -z "$missing" ] && exit 0
printf 'setup: could not install everything. With a network, run as root:\n\n  apt-get update && apt-get install -y %s\n\n' "$missing"
exit 1
