#!/usr/bin/env bash
# Prints the name of a clang++ that can compile Tundra (14 or newer), the newest first; fails where there is none.
for name in clang++-{22,21,20,19,18,17,16,15,14} clang++; do
    major=$("$name" -dumpversion 2>/dev/null | cut -d. -f1)
    [ "${major:-0}" -ge 14 ] && { echo "$name"; exit 0; }
done
exit 1
