#!/usr/bin/env bash
# The page of `tundra review` in a headless Chromium, where there is one; 25 s.  usage: review_browser_test.sh BINARY SOURCE_DIR
set -u
command -v python3 >/dev/null || exit 77
PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="$2/tests" python3 -c 'import chromium, sys; sys.exit(chromium.find() is None)' || exit 77
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="$2/tests" python3 "$2/tests/review_browser.py" "$1" "$work/survey"
