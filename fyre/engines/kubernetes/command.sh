# What the command's container runs: sh -c THIS fyre COMMAND [SETUP]...
# Checks the working directory, runs the setup commands, then becomes the command. Needs a POSIX sh; sleep for timeouts.
exec 2>&1 # one pipe, so that the log has both outputs in the order they were written
told=/dev/termination-log

not_started() {
	printf '%s' "$1" >"$told"
	exit 113
}

# Ends everything in the pod after the timeout, and says so; a pod's own deadline would count the image's pull as well.
watch() {
	[ -n "$FYRE_TIMEOUT" ] || return 0
	# A command may signal its own group, before the watcher has drawn a breath: it is born deaf.
	trap '' TERM HUP INT QUIT USR1 USR2 ALRM
	(
		sleep "$FYRE_TIMEOUT" || exit
		printf '%s' "$1timed out after $FYRE_TIMEOUT_TEXT" >"$told"
		kill -TERM -1
		sleep "$FYRE_GRACE"
		kill -KILL -1
	) </dev/null >/dev/null 2>&1 &
	watcher=$!
	trap - TERM HUP INT QUIT USR1 USR2 ALRM
}

command=$1
shift
cd "$FYRE_TOP" || not_started "there is no checkout"
top=$(pwd -P)
folder=$(cd -- "$top/$FYRE_WORKDIR" 2>/dev/null && pwd -P) || not_started "workdir $FYRE_WORKDIR is not in this commit"
case $folder/ in
"$top"/*) ;;
*) not_started "workdir $FYRE_WORKDIR leads out of the checkout" ;;
esac
for setup; do
	watch "setup failed: "
	sh -c "$setup"
	code=$?
	[ -z "$FYRE_TIMEOUT" ] || kill -KILL "$watcher" 2>/dev/null
	[ "$code" = 0 ] || not_started "setup failed: \`$(printf '%.60s' "$setup" | tr '\n\t' '  ')\` exit $code"
done
watch ""
cd -- "$folder" || not_started "workdir $FYRE_WORKDIR is not in this commit"
unset FYRE_TIMEOUT FYRE_TIMEOUT_TEXT FYRE_GRACE FYRE_TOP FYRE_WORKDIR
exec sh -c "$command"
