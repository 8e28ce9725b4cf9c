#!/bin/bash
# On each machine: bash torchrun.sh NODE_RANK, with 0 on the one that MASTER_ADDR names.
set -euo pipefail
NODES="${NODES:-2}"
GPUS="${GPUS:-8}"
MASTER_ADDR="${MASTER_ADDR:-node0.example.org}"

export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=600   # seconds from SIGTERM to SIGKILL; torchrun's own 30 are too few for a checkpoint
cd /shared/project                          # acclimate.yaml, the text and runs/, on a disk that all machines see

exec torchrun --nnodes="$NODES" --nproc-per-node="$GPUS" --node-rank="$1" \
  --master-addr="$MASTER_ADDR" --master-port=29500 \
  -m acclimate train acclimate.yaml --resume --set parallel.strategy=fsdp --set parallel.replicate="$NODES"
