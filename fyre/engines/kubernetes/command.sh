# What the command's container runs: sh -c THIS fyre COMMAND [SETUP]...
# Checks the working directory, runs the setup commands, then the command, in a session of its own.
# It stays until all of the command has ended: if a shell of the command ended first, the container
# would end with it, in the middle of what its children save after TERM. Needs a POSIX sh; sleep for
# timeouts; env of coreutils, perl, python3 or setsid for the session, else it becomes the command.
# All variables begin with FYRE_: one of another name may be the run's own, and
# to assign to it would change it in the command's environment.
exec 2>&1 # one pipe, so that the log has both outputs in the order they were written
FYRE_TOLD=/dev/termination-log
FYRE_STARTER=

# Where nothing stands there, the kubelet copies the end of a failed log into the pod's status, which
# more people may read than the log (FallbackToLogsOnError). So it does that only if no shell could
# be started: then the log is the container runtime's own words.
{ printf 'started by Fyre' >"$FYRE_TOLD"; } 2>/dev/null

# The last line of the log: whoever has it has all that was written before. Terminals do not show it.
# Pipes are first in, first out; the runtime may report the container's end before it has written the
# end of the log.
mark_end() {
	trap '' PIPE
	printf '\033]fyre-end;%s\033\\\n' "$FYRE_KEY"
} 2>/dev/null

not_started() {
	mark_end
	printf '%s' "$1" >"$FYRE_TOLD"
	exit 113
}

# Signal all processes of this container: others that share the pod are no part of the command. The
# first process is first: else it would see its child's end, and tell that.
signal_all() {
	kill "-$1" "$$"
	for FYRE_PROCESS in /proc/[0-9]*; do
		[ "${FYRE_PROCESS#/proc/}" != "$$" ] || continue
		[ "$FYRE_PROCESS/ns/mnt" -ef /proc/self/ns/mnt ] && kill "-$1" "${FYRE_PROCESS#/proc/}"
	done
} 2>/dev/null

# End everything in the container after the timeout, and say so; a pod's own deadline would also count
# the pull of the image.
watch() {
	[ -n "$FYRE_TIMEOUT" ] || return 0
	# A command may signal its own group before the watcher has done anything: so the watcher ignores
	# signals from its start.
	trap '' TERM HUP INT QUIT USR1 USR2 ALRM
	(
		sleep "$FYRE_TIMEOUT" || exit
		printf '%s' "$1timed out after $FYRE_TIMEOUT_TEXT" >"$FYRE_TOLD"
		if [ "$2" = all ]; then signal_all TERM; else kill -TERM "$2"; fi
		sleep "$FYRE_GRACE"
		signal_all KILL
	) </dev/null >/dev/null 2>&1 &
	FYRE_WATCHER=$!
	trap - TERM HUP INT QUIT USR1 USR2 ALRM
}

FYRE_COMMAND=$1
shift
# What uploads the outputs waits for the end of this process.
[ -z "${FYRE_PID_FILE-}" ] || echo "$$" >"$FYRE_PID_FILE"
case ${FYRE_FAILURES-0} in
'' | *[!0-9]*) unset FYRE_TRY ;; # a cluster that does not count: better no number than a wrong one
*) FYRE_TRY=$((${FYRE_FAILURES-0} + 1)) && export FYRE_TRY ;;
esac
cd "$FYRE_TOP" || not_started "there is no checkout"
FYRE_ROOT=$(pwd -P)
FYRE_FOLDER=$(cd -- "$FYRE_ROOT/$FYRE_WORKDIR" 2>/dev/null && pwd -P) ||
	not_started "workdir $FYRE_WORKDIR is not in this commit"
case $FYRE_FOLDER/ in
"$FYRE_ROOT"/*) ;;
*) not_started "workdir $FYRE_WORKDIR leads out of the checkout" ;;
esac

# Make the checkout's own Python environment active, once there is one.
activate() {
	[ -x "$FYRE_ROOT/.venv/bin/python" ] || return 0
	case ":$PATH:" in *":$FYRE_ROOT/.venv/bin:"*) return 0 ;; esac
	VIRTUAL_ENV=$FYRE_ROOT/.venv PATH=$FYRE_ROOT/.venv/bin:$PATH
	export VIRTUAL_ENV PATH
}

[ "$#" = 0 ] || watch "setup failed: " all # all of the setup has the time that the command has
for FYRE_SETUP; do
	activate
	sh -c "$FYRE_SETUP"
	FYRE_CODE=$?
	[ "$FYRE_CODE" = 0 ] || not_started "setup failed: \`$(printf '%.60s' "$FYRE_SETUP" | tr '\n\t' '  ')\` exit $FYRE_CODE"
done
[ "$#" = 0 ] || [ -z "$FYRE_TIMEOUT" ] || kill -KILL "$FYRE_WATCHER" 2>/dev/null
activate

# The command's session, and with what it is begun. A shell ignores INT and QUIT for what it starts
# in the background: they are given back.
find_starter() {
	FYRE_PERL='use POSIX; POSIX::setsid(); $SIG{INT} = $SIG{QUIT} = "DEFAULT"; exec @ARGV'
	FYRE_PYTHON='import os, signal as s, sys; os.setsid(); [s.signal(n, s.SIG_DFL) for n in (s.SIGINT, s.SIGQUIT, s.SIGPIPE, s.SIGXFSZ)]; os.execvp(sys.argv[1], sys.argv[1:])'
	if env --default-signal=INT,QUIT setsid true; then
		FYRE_STARTER=env
	elif perl -e "$FYRE_PERL" true; then
		FYRE_STARTER=perl
	elif python3 -c "$FYRE_PYTHON" true; then
		FYRE_STARTER=python
	elif setsid true; then
		FYRE_STARTER=setsid
	fi
} </dev/null >/dev/null 2>&1

begin() {
	case $FYRE_STARTER in
	env) exec env --default-signal=INT,QUIT setsid sh -c "$1" ;;
	perl) exec perl -e "$FYRE_PERL" sh -c "$1" ;;
	python) exec python3 -c "$FYRE_PYTHON" sh -c "$1" ;;
	setsid) exec setsid sh -c "$1" ;;
	esac
}

# The living processes of a session; with a second word only those that are not of its first group.
members() {
	for FYRE_PROCESS in /proc/[0-9]*; do
		{ read -r FYRE_STAT <"$FYRE_PROCESS/stat"; } 2>/dev/null || continue
		# shellcheck disable=SC2086 # numbers: state, parent, group, session
		set -- "$1" "${2-}" ${FYRE_STAT##*) }
		[ "$6" = "$1" ] && [ "$3" != Z ] || continue
		[ -n "$2" ] && [ "$5" = "$1" ] || echo "${FYRE_PROCESS#/proc/}"
	done
}

# One TERM for all of the command, however often this is told to end. The pod may have more time than
# the command: what comes after that is for its outputs.
pass_on() {
	trap '' TERM
	FYRE_HEARD=1
	(
		sleep "$FYRE_PATIENCE"
		signal_all KILL
	) </dev/null >/dev/null 2>&1 &
	kill -TERM "-$FYRE_CHILD" 2>/dev/null || kill -TERM "$FYRE_CHILD" 2>/dev/null
	for FYRE_MEMBER in $(members "$FYRE_CHILD" strays); do kill -TERM "$FYRE_MEMBER"; done 2>/dev/null
}

find_starter
FYRE_SELF=$$
if [ -n "$FYRE_STARTER" ]; then watch "" "$FYRE_SELF"; else watch "" all; fi
cd -- "$FYRE_FOLDER" || not_started "workdir $FYRE_WORKDIR is not in this commit"
set -- "$FYRE_COMMAND" "$FYRE_TOLD"
FYRE_PATIENCE=$FYRE_GRACE
unset FYRE_PID_FILE FYRE_FAILURES FYRE_TIMEOUT FYRE_TIMEOUT_TEXT FYRE_GRACE FYRE_TOP FYRE_WORKDIR \
	FYRE_TOLD FYRE_WATCHER FYRE_COMMAND FYRE_ROOT FYRE_FOLDER FYRE_SETUP FYRE_CODE FYRE_SELF
[ -n "$FYRE_STARTER" ] || exec sh -c "$1"
FYRE_HEARD=
begin "$1" &
FYRE_CHILD=$!
trap pass_on TERM
while :; do
	FYRE_BEFORE=$FYRE_HEARD
	{ wait "$FYRE_CHILD"; } 2>/dev/null # some shells name the signal here
	FYRE_CODE=$?
	[ "$FYRE_BEFORE" != "$FYRE_HEARD" ] || break # else it was only told to end
done
while [ -n "$FYRE_HEARD" ] && [ -n "$(members "$FYRE_CHILD")" ]; do
	sleep 0.1 2>/dev/null || sleep 1 || break
done
# A command that was never told to end has ended by itself, whatever became of its pod meanwhile.
FYRE_END=", ended by itself"
[ -z "$FYRE_HEARD" ] || FYRE_END=", told to end"
{ mark_end && printf '%s' "$FYRE_END" >>"$2"; } 2>/dev/null
exit "$FYRE_CODE"
