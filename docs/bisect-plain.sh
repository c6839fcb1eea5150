#!/bin/bash
# What `git bisect run` calls without this project: a fresh virtual environment and `pip install` for each commit.
#   bisect-plain.sh REPOSITORY PINS CHECKOUT [COMMIT]
# PINS is a requirements file with everything but peft, CHECKOUT this project with its cases.
# Exit status 0 while the variant fails, 1 once it passes, 125 when the commit cannot be installed.
set -u
repository=$1 pins=$2 checkout=$3 commit=${4:-$(git rev-parse HEAD)}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
begin=$(date +%s.%N)
python3.11 -m venv "$folder/venv" || exit 125
"$folder/venv/bin/pip" install --quiet -r "$pins" "git+file://$repository@$commit#egg=peft" pytest pytest-benchmark hypothesis || exit 125
installed=$(date +%s.%N)
cd "$checkout" && "$folder/venv/bin/python" -m pytest -q cases/generate_with_cache.py -k llama-prompt_tuning-cached \
    --benchmark-disable -p no:cacheprovider > "$folder/log" 2>&1
status=$?
end=$(date +%s.%N)
tail -n 1 "$folder/log"
echo "$commit: installed in $(echo "$installed - $begin" | bc) s, checked in $(echo "$end - $installed" | bc) s"
[ $status -eq 0 ] && exit 1
exit 0
