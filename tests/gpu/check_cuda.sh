#!/bin/sh
# Checks that piref compiles with the feature `cuda`, on a machine without a GPU and without a CUDA toolkit.
#
# PyPI has the compiler and its headers; they go into a virtual environment in $CUDA_CHECK_DIR, outside of the project,
# and stay there. Nothing is run on a GPU: see the README for what that leaves open.
set -eu

folder=${CUDA_CHECK_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/piref-cuda}

# candle 0.11 takes CUDA 13.0; each package has its own patch releases.
packages='nvidia-cuda-nvcc==13.0.88
nvidia-nvvm==13.0.88
nvidia-cuda-crt==13.0.88
nvidia-cuda-runtime==13.0.96
nvidia-cuda-cccl==13.0.85'

mkdir -p "$folder"
if [ "$(cat "$folder/packages" 2>/dev/null)" != "$packages" ]; then
    python3 -m venv "$folder/venv"
    # shellcheck disable=SC2086 # one argument a package
    "$folder/venv/bin/pip" install --quiet $packages
    printf '%s\n' "$packages" >"$folder/packages"
fi
toolkit=$("$folder/venv/bin/python" -c 'import nvidia.cu13; print(next(iter(nvidia.cu13.__path__)))')

# candle's build script looks for the compiler in NVCC, cudarc's runs the one on the PATH and looks for libraries below
# CUDA_HOME. Without a GPU to ask, the architecture has to be named: 8.0 is the oldest with bf16.
export NVCC="$toolkit/bin/nvcc" CUDA_HOME="$toolkit" CUDA_PATH="$toolkit" PATH="$toolkit/bin:$PATH"
export CUDA_COMPUTE_CAP="${CUDA_COMPUTE_CAP:-80}"
nvcc --version

cargo check --locked --features cuda --all-targets
cargo clippy --locked --features cuda --all-targets -- -D warnings
