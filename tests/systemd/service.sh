#!/bin/bash
# healthd as a service, from installation to stop. Runs as root under a systemd that may be changed, in the
# folder with what is to be installed (tests/systemd/main.rs makes it). Exit code 0: all is well.
set -uo pipefail

passed=0
failed=0

main() {
    install_all
    trap remove_all EXIT
    if [[ -e only ]]; then
        "$(<only)_times"
        return
    fi
    check 'the unit file has no mistake'            unit_is_valid
    check 'exposure is at most 1.4'                 exposure_is_low
    check '... and 1.3 with a list of what to reach' exposure_with_a_list
    check 'systemctl start returns at READY=1'      start_to_active
    check 'every process is the user of the unit'   runs_as_its_user
    check 'out of memory, workers go first'         oom_scores
    check 'memory and processes have bounds'        has_bounds
    check 'checks of a sandboxed unit give results' checks_run
    check 'the journal has priorities'              journal_priorities
    check 'systemctl reload applies a new config'   reload_applies
    check 'a bad config is refused, the old runs'   reload_refuses
    check 'SIGHUP reloads too'                      hangup_reloads
    check 'of other processes it says: hidden'      host_checks_see
    check 'a killed worker is replaced'             worker_killed
    check 'a killed manager is replaced'            manager_killed
    check 'a stopped supervisor: the watchdog'      watchdog_restarts
    check 'a stop ends checks that run, in time'    stop_with_a_check_running
    check 'a long grace outlasts TimeoutStopSec'    stop_extends_its_timeout
    check 'a bad config at start is not restarted'  bad_config_stays_down
    check 'a control group gets the socket'         control_group_gets_the_socket
    check 'exec.conf gives setuid programs back'    drop_in_allows_setuid
    check 'users.conf: each role has its user'      users_by_role
    echo "passed: $passed, failed: $failed"
    [[ $failed = 0 ]]
}

check() {
    local out began
    began=$(date +%s%N)
    if out=$("$2" 2>&1); then
        printf 'ok      %-48s %5d ms\n' "$1" $((($(date +%s%N) - began) / 1000000))
        passed=$((passed + 1))
    else
        printf 'FAILED  %s\n%s\n' "$1" "$out" | sed '2,$s/^/        /'
        systemctl status healthd --no-pager -n 30 2>&1 | sed 's/^/        | /'
        failed=$((failed + 1))
    fi
}

# ------------------------------------------------------------------------------------------- the checks

unit_is_valid() {
    local said
    said=$(systemd-analyze verify healthd.service 2>&1 | grep healthd | grep -v 'man ')
    echo "$said"
    [[ -z $said ]]
}

exposure_is_low() {
    exposure_within 1.4
}

# As in the second half of network.conf.
exposure_with_a_list() {
    local dropin=/run/systemd/system/healthd.service.d
    mkdir -p "$dropin"
    printf '[Service]\nIPAddressDeny=any\nIPAddressAllow=localhost 10.0.0.0/8\n' >"$dropin/list.conf"
    systemctl daemon-reload
    exposure_within 1.3
    local result=$?
    rm "$dropin/list.conf"
    systemctl daemon-reload
    return "$result"
}

exposure_within() {
    local level
    level=$(systemd-analyze security --no-pager healthd.service | sed -n 's/.*exposure level for healthd.service: \([0-9.]*\).*/\1/p')
    echo "exposure: $level"
    awk -v l="$level" -v most="$1" 'BEGIN { exit !(l > 0 && l <= most) }'
}

start_to_active() {
    config 'a_second' 'long'
    systemctl start healthd || return
    systemctl is-active healthd || return
    # READY=1 came with a status, and from then on the socket answers.
    [[ $(property StatusText) == *checks=2* ]] || { property StatusText; return 1; }
    healthctl --json list | grep -q a_second
}

runs_as_its_user() {
    local pid
    for pid in $(processes); do
        [[ $(stat -c %U /proc/"$pid") = healthd ]] || { ps -fp "$pid"; return 1; }
        grep -q 'NoNewPrivs:.*1' /proc/"$pid"/status || return
        grep -q 'CapBnd:.*0000000000000000' /proc/"$pid"/status || return
    done
    # Only the first talks to systemd.
    for pid in $(role manager) $(role worker); do
        ! grep -qz NOTIFY_SOCKET= /proc/"$pid"/environ || return
    done
}

oom_scores() {
    local pid
    [[ $(property OOMPolicy) = continue ]] || return
    [[ $(cat /proc/"$(property MainPID)"/oom_score_adj) = 0 ]] || return
    for pid in $(role worker); do
        [[ $(cat /proc/"$pid"/oom_score_adj) = 500 ]] || return
    done
    until_true 'the long check runs' pgrep -f 'sleep 98765' || return
    [[ $(cat /proc/"$(pgrep -f 'sleep 98765' | head -1)"/oom_score_adj) = 1000 ]]
}

has_bounds() {
    local bound
    for bound in MemoryHigh MemoryMax TasksMax; do
        [[ $(property $bound) =~ ^[0-9]+$ ]] || { echo "$bound: $(property $bound)"; return 1; }
    done
}

checks_run() {
    until_true 'a_second is ok' verdict_is a_second ok
}

journal_priorities() {
    journalctl --sync
    local seen
    seen=$(journalctl -u healthd -o json --no-pager)
    # info is 6; what comes later makes warnings and errors, and looks at them.
    grep -q '"PRIORITY":"6"' <<< "$seen" || return
    # Our prefix is taken off the text.
    ! grep -q '"MESSAGE":"<' <<< "$seen"
}

reload_applies() {
    local pid
    pid=$(property MainPID)
    config 'a_second' 'long' 'another'
    systemctl reload healthd || return
    systemctl is-active healthd || return
    [[ $(property MainPID) = "$pid" ]] || return
    healthctl --json list | grep -q another || return
    until_true 'the new check is ok' verdict_is another ok
}

reload_refuses() {
    echo 'intervall = 3' >> /etc/healthd/healthd.toml
    if systemctl reload healthd; then
        echo 'the reload did not fail'
        return 1
    fi
    systemctl is-active healthd || return
    healthctl --json list | grep -q another || return
    config 'a_second' 'long' 'another'
}

hangup_reloads() {
    config 'a_second' 'long' 'by_hangup'
    systemctl kill --kill-whom=main --signal=HUP healthd || return
    until_true 'the new check is there' has_check by_hangup || return
    until_true 'the unit is active again' systemctl is-active healthd
}

# Under ProtectProc=invisible and the rest of the unit: units and file systems are seen, processes of others are not.
host_checks_see() {
    config 'a_second' 'own' 'others' 'units' 'root'
    systemctl reload healthd || return
    local name
    for name in own units root; do
        until_true "$name is ok" verdict_is $name ok || { healthctl status "$name"; return 1; }
    done
    until_true 'those of others cannot be counted, and it says so' is_hidden others || { healthctl status others; return 1; }
}

worker_killed() {
    local pid
    pid=$(role worker | head -1)
    kill -KILL "$pid"
    until_true 'it is another' not alive "$pid" || return
    until_true 'a_second is ok again' verdict_is a_second ok || return
    systemctl is-active healthd || return
    journalctl --sync
    journalctl -u healthd -p warning --no-pager | grep "worker died.*$pid"
}

manager_killed() {
    local pid
    pid=$(role manager)
    kill -KILL "$pid"
    until_true 'it is gone' not alive "$pid" || return
    until_true 'the socket answers' healthctl --json list || return
    systemctl is-active healthd || return
    [[ $(property NRestarts) = 0 ]]
}

watchdog_restarts() {
    local pid before
    drop_in watchdog '[Service]' 'WatchdogSec=3s' || return
    systemctl restart healthd || return
    before=$(processes)
    pid=$(property MainPID)
    kill -STOP "$pid"
    until_true 'systemd has started it again' restarted_from "$pid" || return
    until_true 'it is active' systemctl is-active healthd || return
    [[ $(property NRestarts) = 1 ]] || return
    for pid in $before; do
        ! alive "$pid" || { ps -fp "$pid"; return 1; }
    done
    journalctl --sync
    journalctl -u healthd --no-pager | grep -qi 'watchdog' || return
    no_drop_in watchdog
}

# For the fault table: from SIGSTOP to the end of the old service, and from there to an active new one.
watchdog_times() {
    local pid began ended
    config 'a_second'
    drop_in watchdog '[Service]' 'WatchdogSec=3s' || return
    systemctl restart healthd || return
    pid=$(property MainPID)
    began=$(date +%s%N)
    kill -STOP "$pid"
    while alive "$pid"; do sleep 0.001; done
    ended=$(date +%s%N)
    until_true 'systemd has started it again' restarted_from "$pid" || return
    until_true 'it is active' systemctl is-active healthd || return
    echo "watchdog detected_ms $(((ended - began) / 1000000))"
    echo "watchdog recovered_ms $((($(date +%s%N) - ended) / 1000000))"
    no_drop_in watchdog
}

stop_with_a_check_running() {
    local began took
    config 'a_second' 'long'
    systemctl restart healthd || return
    until_true 'the long check runs' pgrep -f 'sleep 98765' || return
    began=$(date +%s%N)
    systemctl stop healthd || return
    took=$((($(date +%s%N) - began) / 1000000))
    # stop_grace is 2 s, and some time to be killed in.
    [[ $took -lt 8000 ]] || { echo "it took $took ms"; return 1; }
    clean_stop
}

stop_extends_its_timeout() {
    grace=6s
    config 'a_second' 'long'
    drop_in timeout '[Service]' 'TimeoutStopSec=2s' || return
    systemctl start healthd || return
    until_true 'the long check runs' pgrep -f 'sleep 98765' || return
    systemctl stop healthd || return
    grace=2s
    no_drop_in timeout
    clean_stop
}

bad_config_stays_down() {
    config 'a_second'
    echo 'intervall = 3' >> /etc/healthd/healthd.toml
    if systemctl start healthd; then
        echo 'it started'
        return 1
    fi
    [[ $(property ExecMainStatus) = 78 && $(property NRestarts) = 0 ]] || return
    [[ $(property ActiveState) = failed ]] || return
    journalctl --sync
    # In the journal, as an error, with place and hint.
    journalctl -u healthd -p err --no-pager | grep 'intervall' || return
    systemctl reset-failed healthd
    config 'a_second'
}

control_group_gets_the_socket() {
    groupadd --force --system healthd-control
    # Without its drop-in it is said, and everything else works.
    more='control_group = "healthd-control"'
    drop_in group '[Service]' 'SupplementaryGroups=healthd-control' || return
    config 'a_second'
    systemctl start healthd || return
    journalctl --sync
    journalctl -u healthd --no-pager | grep 'cannot be given to its group' || return
    systemctl stop healthd
    sed 's/=adm/=healthd-control/' control-group.conf > /run/systemd/system/healthd.service.d/group.conf
    systemctl daemon-reload
    more='control_group = "healthd-control"'
    config 'a_second'
    systemctl start healthd || return
    [[ $(stat -c '%a %G' /run/healthd/control.sock) = '660 healthd-control' ]] || { stat /run/healthd/control.sock; return 1; }
    [[ $(stat -c '%G' /run/healthd/state.map) = healthd-control ]] || { stat /run/healthd/state.map; return 1; }
    # A member of the group may steer, somebody else may not even ask.
    useradd --system --groups healthd-control healthd-member 2> /dev/null
    runuser -u healthd-member -- healthctl pause a_second || return
    if runuser -u nobody -- healthctl --json list; then
        echo 'nobody was let in'
        return 1
    fi
    systemctl stop healthd
    more=
    no_drop_in group
}

drop_in_allows_setuid() {
    cp /usr/bin/id /usr/local/bin/id-setuid
    chmod 4755 /usr/local/bin/id-setuid
    config 'a_second' 'setuid'
    systemctl start healthd || return
    until_true 'the hardened unit keeps its user' message_has setuid 'uid=[0-9]*(healthd) gid=[0-9]*(healthd) groups' || return
    systemctl stop healthd
    mkdir -p /etc/systemd/system/healthd.service.d
    sed 's/^#\([A-Z][A-Za-z]*=\)/\1/; /^DeviceAllow=.dev/d; /^AmbientCapabilities=/d; /^CapabilityBoundingSet=CAP_NET_RAW/d; /^ReadWritePaths=/d; /^RestrictAddressFamilies=AF_PACKET/d' \
        exec.conf > /etc/systemd/system/healthd.service.d/exec.conf
    systemctl daemon-reload
    local said
    said=$(systemd-analyze verify healthd.service 2>&1 | grep healthd | grep -v 'man ')
    [[ -z $said ]] || { echo "$said"; return 1; }
    systemctl start healthd || return
    until_true 'the program is root' message_has setuid 'euid=0(root)' || return
    systemctl stop healthd
    clean_stop
}

# Supervisor and manager, plugins, and programs of checks: three users, and none of them can be taken for another.
users_by_role() {
    local pid role user before said
    rm -rf /etc/systemd/system/healthd.service.d
    mkdir -p /etc/systemd/system/healthd.service.d
    cp users.conf /etc/systemd/system/healthd.service.d/users.conf
    systemctl daemon-reload
    said=$(systemd-analyze verify healthd.service 2>&1 | grep healthd | grep -v 'man ')
    [[ -z $said ]] || { echo "$said"; return 1; }
    config 'a_second' 'whoami' 'io' 'cpu' 'long'
    printf '[users]\nworker = "healthd-worker"\nexec = "healthd-exec"\n' >> /etc/healthd/healthd.toml
    systemctl start healthd || return
    until_true 'a program has its user' message_has whoami 'healthd-exec' || return
    until_true 'a plugin of class io runs' is_refused io || return
    until_true 'a plugin of class cpu runs' verdict_is cpu ok || return
    until_true 'the long check runs' pgrep -u healthd-exec -f 'sleep 98765' || return
    healthctl version | grep 'workers run under `healthd-worker`, programs of checks under `healthd-exec`, the rest under `healthd`' || return
    for role in manager 'worker.*--class io' 'worker.*--class cpu' 'worker.*--class exec'; do
        case $role in
            manager) user=healthd ;;
            *exec) user=healthd-exec ;;
            *) user=healthd-worker ;;
        esac
        before=$(role "$role" | head -1)
        kill -KILL "$before" || return
        until_true 'it is gone' not alive "$before" || return
        until_true 'another is there' has_role "$role" || return
        pid=$(role "$role" | head -1)
        [[ $(ps -o user:32= -p "$pid") = "$user" ]] || { ps -fp "$pid"; return 1; }
        grep -q 'CapEff:.*0000000000000000' /proc/"$pid"/status || return
        until_true 'a_second is ok again' verdict_is a_second ok || return
    done
    # What they may not do, as who they are.
    ! runuser -u healthd-worker -- healthctl --json list || return
    ! runuser -u healthd-exec -- cat /etc/healthd/healthd.toml || return
    ! runuser -u healthd-worker -- kill -0 "$(property MainPID)" || return
    ! runuser -u healthd-worker -- touch /run/healthd/x /var/lib/healthd/x || return
    systemctl stop healthd
    clean_stop || return
    ! pgrep -u healthd-worker || return
    ! pgrep -u healthd-exec || return
    rm /etc/systemd/system/healthd.service.d/users.conf
    systemctl daemon-reload
}

# ---------------------------------------------------------------------------------------------- helpers

# Writes a config with these checks.
grace=2s
more=
config() {
    local name plugin
    {
        printf '[daemon]\nstop_grace = "%s"\n%s\n[pool.io]\nworkers = 1\n' "$grace" "$more"
        for name; do
            case $name in
                io) plugin=tcp ;;
                cpu) plugin=cpu ;;
                own | others) plugin=process ;;
                units) plugin=systemd ;;
                root) plugin=disk ;;
                *) plugin=exec ;;
            esac
            printf '[[check]]\nname = "%s"\nplugin = "%s"\ninterval = "1s"\ntimeout = "5m"\n' "$name" "$plugin"
            case $name in
                io) echo 'config = { host = "127.0.0.1", port = 1 }' ;;
                cpu) echo 'config = { duration = "100ms" }' ;;
                whoami) echo 'config = { argv = ["/usr/bin/whoami"] }' ;;
                long) echo 'config = { argv = ["/bin/sh", "-c", "sleep 98765 & sleep 98765; true"] }' ;;
                own) echo 'config = { name = "healthd.*" }' ;;
                others) echo 'config = { name = "systemd-journal.*" }' ;;
                units) echo 'config = { units = ["systemd-journald"] }' ;;
                root) echo 'config = { paths = ["/"], free_warn = "0%", free_crit = "0%", inodes_warn = 0, inodes_crit = 0, readonly = "ok" }' ;;
                setuid) echo 'config = { argv = ["/usr/local/bin/id-setuid"] }' ;;
                *) echo 'config = { argv = ["/bin/echo", "fine"] }' ;;
            esac
        done
    } > /etc/healthd/healthd.toml
}

property() { systemctl show -P "$1" healthd; }

cgroup_procs() { find /sys/fs/cgroup -path '*healthd.service*' -name cgroup.procs -exec cat {} + 2> /dev/null; }

processes() { cgroup_procs | sort -nu; }

role() {
    local pid
    for pid in $(processes); do
        tr '\0' ' ' < /proc/"$pid"/cmdline | grep -q -- "--role $1" && echo "$pid"
    done
}

has_role() { [[ -n $(role "$1") ]]; }

alive() { [[ -d /proc/$1 ]]; }
not() { ! "$@"; }

verdict_is() {
    healthctl --json status "$1" | python3 -c '
import json, sys
rows = json.load(sys.stdin)
sys.exit(0 if rows and rows[0]["verdict"] == sys.argv[1] else 1)' "$2"
}

message_has() { healthctl --json status "$1" | grep -q "$2"; }

# healthctl's exit code says that it is critical.
is_refused() { [[ $(healthctl --json status "$1") == *refused* ]]; }

# Likewise that it is unknown.
is_hidden() {
    [[ $(healthctl --json status "$1") == *'"verdict":"unknown"'*'cannot see: 0 processes found, and other users'* ]]
}

has_check() { healthctl --json list | grep -q "$1"; }

restarted_from() {
    local pid
    pid=$(property MainPID)
    [[ $pid != 0 && $pid != "$1" ]]
}

# Nothing is left: no process, no socket, and systemd is content.
clean_stop() {
    [[ $(property Result) = success && $(property ExecMainStatus) = 0 ]] || { systemctl show healthd -p Result,ExecMainStatus; return 1; }
    [[ -z $(processes) ]] || { ps -fp $(processes); return 1; }
    ! pgrep -f 'sleep 98765' || return
    ! pgrep -u healthd || return
    [[ ! -e /run/healthd ]]
}

until_true() {
    local what=$1 end=$((SECONDS + 60))
    shift
    until "$@" > /dev/null 2>&1; do
        if ((SECONDS >= end)); then
            echo "not within a minute: $what"
            return 1
        fi
        sleep 0.05
    done
}

drop_in() {
    local name=$1
    shift
    mkdir -p /run/systemd/system/healthd.service.d
    printf '%s\n' "$@" > /run/systemd/system/healthd.service.d/"$name".conf
    systemctl daemon-reload
}

no_drop_in() {
    rm /run/systemd/system/healthd.service.d/"$1".conf
    systemctl daemon-reload
}

install_all() {
    install -D -m 644 healthd.sysusers /usr/lib/sysusers.d/healthd.conf
    install -D -m 644 healthd.tmpfiles /usr/lib/tmpfiles.d/healthd.conf
    install -D -m 644 healthd.service /usr/lib/systemd/system/healthd.service
    systemd-sysusers /usr/lib/sysusers.d/healthd.conf
    systemd-tmpfiles --create /usr/lib/tmpfiles.d/healthd.conf
    install -m 755 healthd healthctl /usr/bin/
    install -m 644 plugins/*.so /usr/lib/healthd/plugins/
    systemctl daemon-reload
}

# For a host that goes on living.
remove_all() {
    systemctl stop healthd
    rm -rf /usr/lib/sysusers.d/healthd.conf /usr/lib/tmpfiles.d/healthd.conf \
        /usr/lib/systemd/system/healthd.service /etc/systemd/system/healthd.service.d \
        /run/systemd/system/healthd.service.d /usr/bin/healthd /usr/bin/healthctl \
        /usr/lib/healthd /etc/healthd /var/lib/healthd /usr/local/bin/id-setuid
    systemctl daemon-reload
    userdel healthd-member
    groupdel healthd-control
    userdel healthd
    userdel healthd-worker
    userdel healthd-exec
} 2> /dev/null

main
