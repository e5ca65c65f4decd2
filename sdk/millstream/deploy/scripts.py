"""What the device does, as POSIX shell, so that any Linux can do it.

A deployment is a folder: `versions/<id>` for the present version and the one before, `current`, one line with
their two names, and `run`. What arrives lies in `versions/<id>.incoming` and is removed when anything goes
wrong; the one moment that counts is the renaming of `current.new`.
"""

from __future__ import annotations

#: Exit codes that have a meaning of their own.
DAMAGED = 75
NOTHING_BEFORE = 66

#: Take a tar archive from standard input, check it, unpack the wheels in it. Folder, id, SHA-256 of
#: SHA256SUMS, Python. An archive that ends too early lacks files that SHA256SUMS names, or that file itself.
RECEIVE = f"""
set -eu
python=$4
mkdir -p "$1/versions"
cd "$1/versions"
rm -rf ./*.incoming
arriving=$PWD/$2.incoming
trap 'rm -rf "$arriving"' EXIT
trap 'exit 1' HUP INT PIPE TERM
mkdir "$arriving"
cd "$arriving"
tar -xf -
echo "$3  SHA256SUMS" | sha256sum -c >/dev/null 2>&1 || exit {DAMAGED}
sha256sum -c SHA256SUMS >/dev/null 2>&1 || exit {DAMAGED}
for wheel in wheels/*.whl; do
  [ -f "$wheel" ] || continue
  "$python" -m zipfile -e "$wheel" packages
done
rm -rf wheels
trap - EXIT
"""

#: Try what arrived, with Python. Folder, id, Python, how many steps are timed.
TRIAL = """
cd "$1/versions/$2.incoming" || exit 1
PYTHONPATH=$PWD/packages exec "$3" -m millstream_runtime trial model.mill --frames "$4"
"""

#: Run the program that arrived, with arguments. Folder, id, arguments.
PROGRAM = """
cd "$1/versions/$2.incoming" || exit 1
shift 2
exec ./step "$@"
"""

#: Remove what arrived. Folder, id.
DISCARD = 'rm -rf "$1/versions/$2.incoming"'

#: Put what arrived in place. Folder, id, report, text of `run`. What is there under the same id is the same.
ACTIVATE = """
set -eu
cd "$1"
id=$2
printf '%s\\n' "$3" > "versions/$id.incoming/report.json"
printf '%s' "$4" > run.new
chmod 755 run.new
now= before=
[ ! -f current ] || read -r now before < current
[ "$now" = "$id" ] || before=$now
printf '%s %s\\n' "$id" "$before" > current.new
if [ -d "versions/$id" ]; then
  mv -f "versions/$id.incoming/report.json" "versions/$id/report.json"
  rm -rf "versions/$id.incoming"
else
  mv "versions/$id.incoming" "versions/$id"
fi
sync
mv -f run.new run
mv -f current.new current
sync
for old in versions/*; do
  case ${old##*/} in "$id" | "$before") ;; *) rm -rf "$old" ;; esac
done
"""

#: Print the id of the present version. Folder.
CURRENT = 'read -r now before < "$1/current" && printf %s "$now"'

#: Change places with the version before, and print its id. Folder.
ROLLBACK = f"""
set -eu
[ -f "$1/current" ] || exit {NOTHING_BEFORE}
cd "$1"
read -r now before < current
[ -n "$before" ] && [ -d "versions/$before" ] || exit {NOTHING_BEFORE}
printf '%s %s\\n' "$before" "$now" > current.new
sync
mv -f current.new current
sync
printf %s "$before"
"""

#: `run` of the deployment.
RUN = """\
#!/bin/sh
# Frames on standard input, outputs on standard output, by the version that `current` names.
here=$(cd "$(dirname "$0")" && pwd)
read -r now before < "$here/current"
exec "$here/versions/$now/run" "$@"
"""

#: `run` of a version with Python; {python} is quoted for the shell.
RUN_PYTHON = """\
#!/bin/sh
# run < frames > outputs, run serve unix:PATH, or run trial
here=$(cd "$(dirname "$0")" && pwd)
command=stream
case ${{1-}} in stream | serve | trial) command=$1; shift ;; esac
PYTHONPATH=$here/packages exec {python} -m millstream_runtime "$command" "$here/model.mill" "$@"
"""

#: `run` of a version without.
RUN_PROGRAM = """\
#!/bin/sh
# run < frames > outputs, or run unix:PATH > outputs
exec "$(dirname "$0")/step" "$@"
"""
