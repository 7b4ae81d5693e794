# bash completion for the commands of Postern; loaded by bash-completion(7) by the name of the command.

_postern_words() { # the words that fit what is typed
	local IFS=$' \t\n'
	mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur")
}

_postern_value_of() { # NAME, with the -c that was typed
	postconf "${config[@]}" -qh "$1" 2>/dev/null
}

_postern_ids() { postqueue "${config[@]}" -j 2>/dev/null | sed -n 's/.*"queue_id": "\([^"]*\)".*/\1/p'; }

_postern_begin() {
	local i
	cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} config=()
	for ((i = 1; i < COMP_CWORD - 1; i++)); do
		[ "${COMP_WORDS[i]}" = -c ] && config=(-c "${COMP_WORDS[i + 1]}")
	done
	COMPREPLY=()
	case $cur in --*) _postern_words "--help --version" && return 1 ;; esac
	case $prev in -c) mapfile -t COMPREPLY < <(compgen -d -- "$cur") && return 1 ;; esac
	return 0
}

_postern_postfix() {
	local cur prev config i
	_postern_begin || return
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		-c) ((i++)) ;;
		-*) ;;
		*) return ;;
		esac
	done
	case $cur in
	-*) _postern_words "-c -D -v" ;;
	*) _postern_words "start start-fg stop quick-stop drain abort reload flush status check logrotate set-permissions upgrade-configuration tls non-bdb" ;;
	esac
}

_postern_postconf() {
	local cur prev config line=" ${COMP_WORDS[*]} "
	_postern_begin || return
	case $prev in
	-C) _postern_words "builtin service user all" && return ;;
	-T) _postern_words "compile-version run-version public-key-algorithms" && return ;;
	esac
	case $cur in
	-*) _postern_words "-a -A -c -b -C -d -e -E -f -F -h -H -j -l -m -M -n -o -p -P -q -t -T -v -x -X -#" && return ;;
	esac
	case $line in
	*" -M"* | *" -e"*M*) _postern_words "$(postconf "${config[@]}" -qM 2>/dev/null | sed -E 's|^([^ ]+) +([^ ]+).*|\1/\2|')" ;;
	*" -F"*) _postern_words "$(postconf "${config[@]}" -qFH 2>/dev/null)" ;;
	*" -P"*) _postern_words "$(postconf "${config[@]}" -qPH 2>/dev/null)" ;;
	*) _postern_words "$(postconf "${config[@]}" -qH 2>/dev/null)" ;;
	esac
}

_postern_postmulti() {
	local cur prev config
	_postern_begin || return
	case $prev in
	-e) _postern_words "init create import destroy deport enable disable assign" ;;
	-i) _postern_words "$(postmulti -l 2>/dev/null | sed 's/ .*//')" ;;
	-g) _postern_words "$(postmulti -l 2>/dev/null | sed 's/[^ ]* *//; s/ .*//' | sort -u)" ;;
	-p) _postern_words "start stop reload status check flush abort" ;;
	-x) mapfile -t COMPREPLY < <(compgen -c -- "$cur") ;;
	*) _postern_words "-a -e -g -G -i -I -j -l -p -R -v -x" ;;
	esac
}

_postern_postmap() {
	local cur prev config type
	_postern_begin || return
	case ${COMP_WORDS[0]##*/}$cur in
	postalias-*) _postern_words "-c -d -f -i -j -n -N -o -p -q -r -s -u -v -w" ;;
	*map-*) _postern_words "-b -c -d -f -F -h -i -j -m -n -N -o -p -q -r -s -u -U -v -w" ;;
	*) # bash takes TYPE:FILE apart at the colon
		if [ "$prev" = : ] || [ "$cur" = : ]; then
			[ "$cur" = : ] && cur=
			mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		else
			type=$(postconf -m 2>/dev/null | grep -E '^(hash|btree|lmdb|cdb)$' | sed 's/$/:/')
			_postern_words "$type"
			mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -f -- "$cur")
		fi
		;;
	esac
}

_postern_postqueue() {
	local cur prev config
	_postern_begin || return
	case $prev in
	-i) _postern_words "$(_postern_ids)" ;;
	-s) _postern_words "$(_postern_value_of fast_flush_domains | tr -s ', ' ' ')" ;;
	*) _postern_words "-c -f -i -j -p -s -v" ;;
	esac
}

_postern_postsuper() {
	local cur prev config
	_postern_begin || return
	case $prev in
	-d | -e | -f | -h | -H | -r) _postern_words "$(_postern_ids) ALL -" ;;
	*)
		case $cur in
		-*) _postern_words "-c -d -e -f -h -H -p -r -s -S -v" ;;
		*) _postern_words "hold incoming active deferred maildrop" ;;
		esac
		;;
	esac
}

_postern_postcat() {
	local cur prev config
	_postern_begin || return
	case $cur in
	-*) _postern_words "-b -c -d -e -f -h -o -q -r -s -v" ;;
	*)
		case " ${COMP_WORDS[*]} " in
		*" -"*q*) _postern_words "$(_postern_ids)" ;;
		*) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
		esac
		;;
	esac
}

_postern_postlog() {
	local cur prev config
	_postern_begin || return
	case $prev in
	-p) _postern_words "info warn warning error fatal panic" ;;
	*) _postern_words "-c -i -p -t -v" ;;
	esac
}

_postern_postkick() {
	local cur prev config
	_postern_begin || return
	case $prev in
	private | public) _postern_words "$(postconf "${config[@]}" -qM 2>/dev/null | sed -n 's/^\([^ ]*\) *unix.*/\1/p')" ;;
	*) _postern_words "-c -v private public" ;;
	esac
}

_postern_postlock() {
	local cur prev config
	_postern_begin || return
	case $prev in
	-l) _postern_words "$(postconf -l 2>/dev/null)" ;;
	*)
		_postern_words "-c -l -v"
		mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -f -- "$cur")
		;;
	esac
}

_postern_test_tool() { # OPTIONS
	local cur prev config
	_postern_begin || return
	case ${COMP_WORDS[0]##*/}$prev in
	smtp-source-F | smtp-sink-d | smtp-sink-D) mapfile -t COMPREPLY < <(compgen -f -- "$cur") && return ;;
	smtp-sink-R) mapfile -t COMPREPLY < <(compgen -d -- "$cur") && return ;;
	smtp-sink-u) mapfile -t COMPREPLY < <(compgen -u -- "$cur") && return ;;
	smtp-sink-[frqQsW]) _postern_words "connect helo ehlo lhlo mail rcpt vrfy data . rset noop quit" && return ;;
	esac
	_postern_words "$1 inet: unix:"
}
_postern_smtp_source() { _postern_test_tool "-4 -6 -A -c -C -d -f -F -l -L -m -M -N -o -r -R -s -S -t -T -v -w"; }
_postern_smtp_sink() { _postern_test_tool "-4 -6 -8 -a -A -b -B -c -C -d -D -e -E -f -F -h -H -L -m -M -n -N -p -P -q -Q -r -R -s -S -t -T -u -v -w -W"; }
_postern_qmqp_source() { _postern_test_tool "-4 -6 -c -C -f -l -m -M -r -R -s -t -v -w"; }
_postern_qmqp_sink() { _postern_test_tool "-4 -6 -c -v -x"; }
_postern_qshape() {
	local cur prev config
	_postern_begin || return
	case $cur in
	-*) _postern_words "-b -c -h -l -m -n -N -p -s -t -w" ;;
	*) _postern_words "incoming active deferred hold maildrop" ;;
	esac
}

_postern_posttls_finger() {
	local cur prev config
	_postern_begin || return
	case $prev in
	-l) _postern_words "none may encrypt verify secure fingerprint" ;;
	-a) _postern_words "any ipv4 ipv6" ;;
	-g) _postern_words "high medium" ;;
	-h) _postern_words "dns native" ;;
	-L) _postern_words "none routine summary peercert certmatch cache verbose debug ssl-debug" ;;
	-A | -F | -H | -k | -K | -P) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
	*) _postern_words "-a -A -c -C -d -f -F -g -h -H -k -K -l -L -m -M -o -p -P -r -s -S -t -T -v -w -x" ;;
	esac
}

complete -F _postern_postfix postfix postern
complete -F _postern_postconf postconf
complete -F _postern_postmulti postmulti
complete -F _postern_postmap postmap postalias
complete -F _postern_postqueue postqueue
complete -F _postern_postsuper postsuper
complete -F _postern_postcat postcat
complete -F _postern_postlog postlog
complete -F _postern_postkick postkick
complete -F _postern_postlock postlock
complete -F _postern_smtp_source smtp-source
complete -F _postern_smtp_sink smtp-sink
complete -F _postern_qmqp_source qmqp-source
complete -F _postern_qmqp_sink qmqp-sink
complete -W "-c -r -s -v --help --version" fsstone
complete -F _postern_qshape qshape
complete -F _postern_posttls_finger posttls-finger
complete -W "-c -r -v --help --version" postdrop
complete -W "-A -B -C -F -G -I -L -N -O -R -U -V -XV -bd -bh -bH -bi -bl -bm -bp -bs -bv -c -e -f -h -i -m -o -oi -p -q -qI -qR -r -t -v -x --help --version" sendmail
complete -W "-C -v --help --version" mailq newaliases
complete -W "-D -T --help --version" rmail
