#!/bin/sh
# Checks out exactly one commit: the init container's part of a run. Needs a POSIX sh, git >= 2.20
# and what every image has (cat cut head mkdir mktemp mv rm sed sleep tail); no root, no writable
# disk but FYRE_TOP and HOME.
#
#   FYRE_SHA             the commit, 40 or 64 hex digits
#   FYRE_TOP             the existing directory for it, empty or left by this script
#   FYRE_URL             the repository at the relay, without a key in it; empty: a pack is streamed
#                        to `checkout.sh receive`
#   FYRE_KEY             the relay's key; read from the environment by the credential helper,
#                        written nowhere
#   FYRE_ORIGIN          remote.origin.url, for people who look at the checkout later, and for
#                        relative submodule URLs; may be empty
#   FYRE_DEPTH           commits of history, 1 by default, 0 for all
#   FYRE_SUBMODULES      "" none, 1 the direct ones, "recursive"
#   FYRE_SUBMODULE_URLS  lines "THEIR_URL RELAY_URL": submodules are fetched from RELAY_URL
#   FYRE_LFS             1: files of Git LFS, not their pointers; needs git-lfs in the image
#   FYRE_SPARSE          lines: directories; only these are checked out (cone mode, git >= 2.25)
#   FYRE_UMASK           022 where the main container has the same user; 0 by default
#   FYRE_NET_PAUSE       seconds after the first fetch, 1 by default; doubles up to 8
#   FYRE_NET_BREAKS      fetches that may break off in the middle, 20 by default
#   FYRE_WAIT            seconds to wait for a pack, or for a relay that is away or busy fetching,
#                        600 by default
#   FYRE_MESSAGE         file for the line that says why it failed, or what is not checked out,
#                        /dev/termination-log by default
#
# Exit codes: 0 done; 90 this will never work; 91 it may work later.
#
# It leaves .git without remote credentials, HEAD detached at the commit, everything writable for
# every user, and .git/fyre/gitconfig: the main container's GIT_CONFIG_SYSTEM, because git distrusts
# a repository of another user.
set -u
umask "${FYRE_UMASK:-0}" # the main container may run as any user

sha=${FYRE_SHA-} top=${FYRE_TOP-} url=${FYRE_URL-} origin=${FYRE_ORIGIN-}
depth=${FYRE_DEPTH:-1} pause=${FYRE_NET_PAUSE:-1} breaks=${FYRE_NET_BREAKS:-20}
patience=${FYRE_WAIT:-600}
home='' child='' why='' input=''
short=$(printf '%.12s' "$sha")

# fail CODE WHY: end, with one line on stderr and in the message file.
fail() {
	printf 'commit %s: %s\n' "$short" "$2" >&2
	{ printf 'commit %s: %s\n' "$short" "$2" >"${FYRE_MESSAGE:-/dev/termination-log}"; } 2>/dev/null
	exit "$1"
}

# After these checks no input from outside needs quoting in a config file, or can be an option.
check() {
	case $sha in *[!0-9a-f]* | '') fail 90 'not a commit SHA' ;; esac
	[ ${#sha} = 40 ] || [ ${#sha} = 64 ] || fail 90 'not a commit SHA'
	for number in "$depth" "$pause" "$breaks" "$patience"; do
		case $number in *[!0-9]* | '') fail 90 'FYRE_DEPTH, _NET_PAUSE, _NET_BREAKS and _WAIT are whole numbers' ;; esac
	done
	case ${FYRE_KEY-} in *[!A-Za-z0-9._~-]*) fail 90 'FYRE_KEY is no relay key' ;; esac
	case $url in http://* | https://* | '') ;; *) fail 90 'FYRE_URL is neither http nor https' ;; esac
	case $url in *@*) fail 90 'FYRE_URL holds a credential' ;; esac
	case $origin in *://*:*@*) fail 90 'FYRE_ORIGIN holds a credential' ;; esac
	plain "$url$origin" || fail 90 'FYRE_URL or FYRE_ORIGIN has characters that no URL has'
	case $top in /*) ;; *) fail 90 'FYRE_TOP is no absolute path' ;; esac
	cd "$top" 2>/dev/null || fail 90 "FYRE_TOP is no directory: $top"
}

plain() {
	case $1 in -* | *[!A-Za-z0-9:/._~%@+-]*) return 1 ;; esac
}

# Create a home with all the configuration that git sees; removed at the end. The key is not in it.
make_home() {
	home=$(mktemp -d "${HOME:-/tmp}/.fyre.XXXXXX") || fail 91 "HOME is not writable: ${HOME:-/tmp}"
	trap 'rm -rf "$home"' EXIT
	# A background child, so that the shell, process 1 of the container, hears this at once.
	trap '[ -z "$child" ] || kill "$child" 2>/dev/null; fail 91 "told to stop"' TERM INT HUP
	unset GIT_DIR GIT_WORK_TREE GIT_COMMON_DIR GIT_INDEX_FILE GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES \
		GIT_NAMESPACE GIT_CONFIG GIT_CONFIG_GLOBAL GIT_CONFIG_SYSTEM GIT_CONFIG_COUNT GIT_CONFIG_PARAMETERS \
		GIT_TEMPLATE_DIR GIT_ASKPASS SSH_ASKPASS GIT_SSH GIT_SSH_COMMAND GIT_PROXY_COMMAND GIT_EXTERNAL_DIFF \
		GIT_SHALLOW_FILE GIT_GRAFT_FILE GIT_REPLACE_REF_BASE GIT_ALLOW_PROTOCOL GIT_PROTOCOL_FROM_USER \
		GIT_TRACE GIT_TRACE_CURL GIT_TRACE_PACKET GIT_CURL_VERBOSE GIT_TRACE2 GIT_TRACE2_EVENT GIT_DEFAULT_HASH
	export HOME="$home" XDG_CONFIG_HOME="$home" GIT_CONFIG_NOSYSTEM=1 GIT_ATTR_NOSYSTEM=1 GIT_TERMINAL_PROMPT=0 \
		GIT_COMMITTER_NAME=fyre GIT_COMMITTER_EMAIL=fyre@localhost LC_ALL=C
	configuration >"$home/.gitconfig"
}

configuration() {
	cat <<-'END'
		[safe]
			directory = *
		[core]
			hooksPath = /dev/null
			logAllRefUpdates = false
		[protocol]
			version = 2
			allow = never
		[protocol "http"]
			allow = always
		[protocol "https"]
			allow = always
		[http]
			followRedirects = false
			lowSpeedLimit = 1
			lowSpeedTime = 120
			proactiveAuth = basic
		[fetch]
			unpackLimit = 1
		[gc]
			auto = 0
		[maintenance]
			auto = false
		[advice]
			detachedHead = false
	END
	if [ -n "$url" ]; then
		host=${url#*://}
		# shellcheck disable=SC2016 # the helper's own shell is to read the key
		printf '[credential "%s://%s"]\n\thelper = %s\n' "${url%%://*}" "${host%%/*}" \
			'"!f() { if [ \"$1\" = get ]; then echo username=fyre; echo \"password=$FYRE_KEY\"; fi; }; f"'
	fi
	if [ -z "$origin" ] && [ -n "$url" ]; then printf '[remote "origin"]\n\turl = %s\n' "$url"; fi
	printf '%s\n' "${FYRE_SUBMODULE_URLS-}" | while read -r from to; do
		if [ -n "$to" ] && plain "$from" && plain "$to"; then printf '[url "%s"]\n\tinsteadOf = %s\n' "$to" "$from"; fi
	done
	if [ -n "${FYRE_LFS-}" ]; then
		printf '[filter "lfs"]\n\tprocess = git-lfs filter-process\n\tsmudge = git-lfs smudge -- %%f\n\trequired = true\n'
	fi
}

# run COMMAND...: with $input as its stdin; 1 where it fails. Its stderr is in $home/said, and $why is
# the line that matters.
run() {
	"$@" <"${input:-/dev/null}" 2>"$home/said" &
	child=$!
	wait "$child" && child='' && return
	child=''
	cat "$home/said" >&2
	why=$(sed -n -e 's/^fatal: //p' -e 's/^error: //p' "$home/said" | tail -n 1 | cut -c 1-160)
	[ -n "$why" ] || why=$(sed '/^ *$/d' "$home/said" | tail -n 1 | cut -c 1-160)
	return 1
}

# Empty the directory, then write a repository without a commit, with nothing from a template.
lay_out() {
	if [ -d .git/fyre ]; then # this container was started before, in the same pod
		rm -rf ./* ./.[!.]* ./..?* || fail 90 "FYRE_TOP can't be emptied of what was there before: $top"
	fi
	for entry in ./* ./.[!.]* ./..?*; do
		[ "$entry" = ./lost+found ] || { [ ! -e "$entry" ] && [ ! -L "$entry" ]; } || fail 90 "FYRE_TOP is not empty: $top"
	done
	mkdir -p .git/fyre .git/objects/info .git/objects/pack .git/refs/heads .git/refs/tags .git/info 2>"$home/said" ||
		fail 91 "FYRE_TOP is not writable: $top"
	echo 'ref: refs/heads/main' >.git/HEAD
	format=0 extensions=''
	[ ${#sha} = 40 ] || format=1 extensions='[extensions]
	objectFormat = sha256
'
	{
		printf '[core]\n\trepositoryformatversion = %s\n\tfilemode = true\n\tbare = false\n%s' "$format" "$extensions"
		[ -z "$origin" ] || printf '[remote "origin"]\n\turl = %s\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n' "$origin"
	} >.git/config
	printf '[include]\n\tpath = /etc/gitconfig\n[safe]\n\tdirectory = *\n' >.git/fyre/gitconfig
}

# End if the answer, the server's or git's own, will be the same next time.
judge() {
	said=$(cat "$home/said")
	[ "$1" != checkout ] || judge_checkout
	case $said in
	*'not our ref'* | *'unadvertised object'* | *"couldn't find remote ref"*)
		fail 90 "$1: the server does not have it; was it force-pushed away?" ;;
	*'Authentication failed'* | *'could not read Username'* | *'could not read Password'* | *'returned error: 403'*)
		fail 90 "$1: the key is refused; a key is good for its own repositories and the life of its run" ;;
	*"fatal: repository '"*"' not found"*)
		# The relay says it in these words; another 404 is from a proxy before a relay that is away.
		case $1$said in fetch*'no such repository for this key'* | [!f]*)
			fail 90 "$1: no such repository for this key: $why" ;;
		esac ;;
	*"fatal: transport '"*"' not allowed"*) fail 90 "$1: $why (only http and https are)" ;;
	*[Nn]'o space left'* | *'uota exceeded'*) fail 91 "$1: $why" ;;
	esac
}

# Set $now to the seconds since the machine's start; it stays 0 where nobody knows.
clock() {
	{ read -r now _ </proc/uptime; } 2>/dev/null || now=0
	now=${now%%.*}
}

# Remove what a fetch that broke off left: at each try it would be as much again.
clear_broken() {
	rm -f .git/*.lock .git/objects/pack/tmp_* .git/objects/tmp_* .git/objects/??/tmp_* \
		.git/modules/*/objects/pack/tmp_*
}

# again WHAT COMMAND...: run it until it works, with pauses, while only the network is to blame. It
# ends by the time spent in vain: a receiver may be away for minutes, and be killed more than once.
again() {
	what=$1 rest=$pause waited=0
	shift
	clock
	until run "$@"; do
		judge "$what"
		begun=$now
		clock
		case $said in
		*'early EOF'* | *'unexpected disconnect'* | *'curl 18 '*) # a part had come, so the wait begins anew
			[ "$breaks" -gt 0 ] || fail 91 "$what: broke off again and again: $why"
			breaks=$((breaks - 1)) waited=0 rest=$pause ;;
		*) waited=$((waited + now - begun)) ;;
		esac
		[ "$waited" -lt "$patience" ] || fail 91 "$what: gave up after $patience s: $why"
		clear_broken
		sleep "$((rest + $$ % (rest + 1)))" & # not all pods of a push at the same moment
		child=$!
		wait "$child"
		child='' waited=$((waited + rest + $$ % (rest + 1) + 1)) rest=$((rest < 8 ? rest * 2 : 8))
		clock
	done
}

fetch() {
	set -- --quiet --no-tags --no-recurse-submodules
	[ "$depth" = 0 ] || set -- "$@" "--depth=$depth"
	again fetch git fetch "$@" -- "$url" "$sha"
	rm -f .git/FETCH_HEAD
}

# Set $start to the start of process $1, in the kernel's ticks: a process 1 that was started again is
# another process.
started() {
	{ read -r stat <"/proc/$1/stat"; } 2>/dev/null || stat=''
	# shellcheck disable=SC2086 # split into fields, after the name in parentheses, which may hold anything
	set -- ${stat##*) }
	start=${20-gone}
}

await_pack() {
	started $$
	echo "$$ $start" >.git/fyre/waiting.new && mv .git/fyre/waiting.new .git/fyre/waiting
	left=$((patience * 10))
	until [ -e .git/fyre/ready ]; do
		[ "$left" -gt 0 ] || fail 91 "no pack was sent within $patience s"
		left=$((left - 1))
		sleep 0.1
	done
}

# The other end of await_pack, in a process that exec started: reads LENGTH, shallow commits, pack.
receive() {
	left=$((patience * 10)) start=none
	until [ -e .git/fyre/waiting ] && read -r pid at <.git/fyre/waiting && started "$pid" && [ "$start" = "$at" ]; do
		[ "$left" -gt 0 ] || fail 91 'nobody waits for a pack here'
		left=$((left - 1))
		sleep 0.1
	done
	{ read -r length && read -r shallow; } || fail 91 'the stream ended before the pack'
	case $length in *[!0-9]* | '') fail 90 'the stream does not begin with a length' ;; esac
	case $shallow in *[!0-9a-f\ ]*) fail 90 'the second line holds more than SHAs' ;; esac
	if [ -e .git/fyre/ready ]; then
		head -c "$length" >/dev/null
		return
	fi
	# The end of a stream of exec can't be seen: head stops at the length.
	head -c "$length" | git index-pack --stdin >/dev/null 2>"$home/said" || {
		cat "$home/said" >&2
		fail 91 'the pack did not arrive whole'
	}
	for commit in $shallow; do echo "$commit"; done >".git/shallow.$$"
	if [ -s ".git/shallow.$$" ]; then mv ".git/shallow.$$" .git/shallow; else rm -f ".git/shallow.$$"; fi
	: >.git/fyre/ready
}

# The same for a checkout: only the objects of Git LFS come over the network.
judge_checkout() {
	case $said in
	*'smudge filter lfs failed'* | *'filter-process'*)
		why=$(sed -n 's/^Error downloading object: \(.*\) ([0-9a-f]*): Smudge.*): /\1: /p' "$home/said" | tail -n 1 | cut -c 1-160)
		case $why in *'[404]'* | *'does not exist'* | *'not found'* | *redentials* | *uthentication* | *uthorization*)
			fail 90 "Git LFS: $why" ;;
		esac ;;
	*[Nn]'o space left'* | *'uota exceeded'*) ;;
	*) fail 90 "checkout: $why" ;;
	esac
}

check_out() {
	if [ -n "${FYRE_SPARSE-}" ]; then
		run git sparse-checkout init --cone || fail 90 "sparse checkout ($(git version)): $why"
		printf '%s\n' "$FYRE_SPARSE" >"$home/sparse"
		input=$home/sparse
		run git sparse-checkout set --stdin || fail 90 "sparse checkout: $why"
		input=''
	fi
	set -- checkout --quiet --force --detach "$sha"
	lfs=${url%.git}.git/info/lfs # not in the configuration: submodules have their own
	[ -z "${FYRE_LFS-}" ] || set -- -c "lfs.url=$lfs" -c "lfs.$lfs.access=basic" "$@"
	again checkout git "$@"
	head=$(git rev-parse --verify HEAD) || head=nothing
	[ "$head" = "$sha" ] || fail 90 "verification: $head was checked out instead; is that a commit at all?"
}

# End after FYRE_TIMEOUT seconds: a few kilobytes of objects may be millions of files.
limit() {
	[ -n "${FYRE_TIMEOUT-}" ] || return 0
	trap '[ -z "$child" ] || kill "$child" 2>/dev/null; fail 90 "checkout: not done within $FYRE_TIMEOUT s"' USR1
	(
		trap - EXIT TERM INT HUP
		sleep "$FYRE_TIMEOUT"
		kill -USR1 $$
	) </dev/null >/dev/null 2>&1 &
	clock=$!
}

submodules() {
	set -- --quiet --init --depth=1
	[ "$FYRE_SUBMODULES" != recursive ] || set -- "$@" --recursive
	again submodules git submodule update "$@"
}

# Print the paths of the submodules of the repository here that are in this checkout.
list_submodules() {
	git ls-files -t --stage | sed -n 's/^H 160000 [0-9a-f]* 0.//p'
}

# Print the paths of the files here that are pointers of Git LFS, of the first hundred that may be.
list_pointers() {
	git ls-files ':(top,attr:filter=lfs)' 2>/dev/null | head -n 100 | while read -r path; do
		[ -L "$path" ] || case $(head -c 24 "$path" 2>/dev/null) in 'version https://git-lfs'*) echo "$path" ;; esac
	done
}

# name_missing KIND FILE: print what is missing, with the first three of the paths in the file.
name_missing() {
	count=0 named=''
	while read -r path; do
		count=$((count + 1))
		[ "$count" -gt 3 ] || named="$named, $(printf '%.40s' "$path")"
	done <"$2"
	[ "$count" -gt 0 ] || return 0
	[ "$count" -le 3 ] || named="$named and $((count - 3)) more"
	printf ', %s (%s)' "$1" "${named#, }"
}

# Say which parts are not there, in the message file: it becomes a part of the status.
tell_missing() {
	: >"$home/pointers"
	list_submodules >"$home/missing"
	if [ "${FYRE_SUBMODULES-}" = recursive ]; then
		: >"$home/missing"
	elif [ -n "${FYRE_SUBMODULES-}" ]; then # the direct ones are there
		while read -r path; do
			(cd "./$path" && list_submodules | while read -r part; do printf '%s/%s\n' "$path" "$part"; done)
		done <"$home/missing" >"$home/inside" 2>/dev/null
		mv "$home/inside" "$home/missing"
	fi
	[ -n "${FYRE_LFS-}" ] || list_pointers >"$home/pointers"
	missing=$(name_missing submodules "$home/missing" && name_missing 'Git LFS files' "$home/pointers")
	[ -z "$missing" ] || { printf 'not checked out: %s' "${missing#, }" >"${FYRE_MESSAGE:-/dev/termination-log}"; } 2>/dev/null
}

check
make_home
if [ "${1-}" = receive ]; then
	receive
	exit
fi
if [ -n "${FYRE_LFS-}" ]; then
	[ -n "$url" ] || fail 90 'Git LFS is asked for, and its objects come through the relay only'
	git lfs version >"$home/said" 2>&1 || fail 90 'Git LFS is asked for, and the image has no git-lfs'
fi
lay_out
if [ -n "$url" ]; then fetch; else await_pack; fi
limit
check_out
[ -z "${FYRE_SUBMODULES-}" ] || submodules
tell_missing
[ -z "${clock-}" ] || kill "$clock" 2>/dev/null
exit 0
