#!/bin/sh
# How Redis nodes and sentinels find out which node is the master, and how a
# master hands over before it ends.
#
#   redis.sh node [SETTING...]      run a node, as the master or a replica of it
#   redis.sh node-ready             is it the master, or has it the master's data?
#   redis.sh node-stop              have a replica take over, if it is the master
#   redis.sh sentinel [SETTING...]  run a sentinel
#   redis.sh sentinel-ready         does it hear from the master?
#
# SELF is the host of this one as others know it, LOCAL as it knows itself. NODES
# and SENTINELS are the hosts of all, each time in the same order.
set -eu

# ask HOST PORT [ARGUMENT...]: what a Redis or a sentinel answers. A host that is
# gone doesn't even refuse, so nothing is waited for any longer.
ask() {
  host=$1 port=$2
  shift 2
  if [ -n "$CA" ]; then set -- --tls --cacert "$CA" "$@"; fi
  timeout 2 redis-cli -h "$host" -p "$port" "$@" 2>/dev/null
}

# told HOST: the master, as the sentinel there says.
told() { ask "$1" "$SENTINEL_PORT" -e sentinel get-master-addr-by-name "$MASTER" | head -n 1; }

# agreed: the master, as two of the three sentinels say.
agreed() {
  for sentinel in $SENTINELS; do told "$sentinel"; done | sort | uniq -d | grep . || true
}

# replication HOST FIELD: what the node there says of its replication.
replication() { ask "$1" "$PORT" info replication | tr -d '\r' | sed -n "s/^$2://p"; }

# others_have_data: whether another node holds anything, or may.
others_have_data() {
  for node in $NODES; do
    [ "$node" != "$SELF" ] || continue
    case $(ask "$node" "$PORT" dbsize || true) in
      "" | 0) ;;
      *) return 0 ;;
    esac
  done
  return 1
}

# empty: whether this node has nothing, or next to nothing. A replica that ends
# before it has written what it got has a file, but nothing in it.
empty() { [ "$(cat "$DATA"/appendonlydir/* 2>/dev/null | wc -c)" -lt 512 ]; }

# passwords: the default user's. While they are being changed there are two.
passwords() {
  printf 'user default on sanitize-payload ~* &* +@all'
  for file in password second-password; do
    [ ! -e "$SECRETS/$file" ] || printf ' ">%s"' "$(cat "$SECRETS/$file")"
  done
  echo
}

node() {
  trap 'exit 143' TERM # the first process of a container has no default for it
  while :; do
    master=$(agreed)
    if [ -z "$master" ]; then
      echo "waiting for two sentinels that agree on the master"
    elif [ "$master" = "$SELF" ] && empty && others_have_data; then
      # Replicas would become as empty as their master.
      echo "empty, and named as the master: waiting for a replica with data to take over"
    else
      break
    fi
    sleep 1
  done
  echo "the master is $master"
  umask 077
  {
    passwords
    printf 'masterauth "%s"\n' "$(cat "$SECRETS/password")"
    echo "replica-announce-ip $SELF"
    if [ "$master" != "$SELF" ]; then echo "replicaof $master $PORT"; fi
  } >"$RUN/redis.conf"
  exec redis-server "$RUN/redis.conf" "$@"
}

# node_ready: two masters at a time are soon put right by the sentinels, but until
# then a rollout must not go on.
node_ready() {
  ask "$LOCAL" "$PORT" -e ping >/dev/null || return 1
  if [ "$(replication "$LOCAL" role)" = master ]; then
    master=$(agreed)
    [ -z "$master" ] || [ "$master" = "$SELF" ]
  else
    [ "$(replication "$LOCAL" master_link_status)" = up ]
  fi
}

# caught_up: whether a replica has all that this master has. The sentinels would
# also take one that hasn't.
caught_up() {
  offset=$(replication "$LOCAL" master_repl_offset)
  replication "$LOCAL" 'slave[0-9]*' | sed -n 's/.*state=online,offset=\([0-9]*\),.*/\1/p' | {
    while read -r replica; do
      if [ "$replica" -ge "$offset" ]; then return 0; fi
    done
    return 1
  }
}

# hand_over: has a replica take over. What is written meanwhile would be missing
# from it, so writes wait, but so do the sentinels' messages: not for as long as
# they would take it for the master's end.
hand_over() {
  ask "$LOCAL" "$PORT" client pause $((DOWN_AFTER * 4 / 5)) write >/dev/null || return 1
  caught_up || sleep 1 # a replica tells once a second
  if caught_up; then
    for sentinel in $SENTINELS; do
      case $(ask "$sentinel" "$SENTINEL_PORT" sentinel failover "$MASTER" || true) in
        OK | INPROG*) break ;;
      esac
    done
    for _ in 1 2; do
      sleep 1
      case $(told "$sentinel" || true) in
        "" | "$SELF") ;;
        *) return 0 ;;
      esac
    done
  fi
  ask "$LOCAL" "$PORT" client unpause >/dev/null
  return 1
}

node_stop() {
  [ "$(replication "$LOCAL" role)" = master ] || return 0
  deadline=$(($(date +%s) + 30))
  while [ "$(date +%s)" -lt "$deadline" ] && [ "$(agreed)" = "$SELF" ]; do
    if [ -n "$(replication "$LOCAL" 'slave[0-9]*')" ] && hand_over; then return 0; fi
    sleep 1
  done
}

# known_master: what others know, else what this sentinel knew, else what the
# nodes do, else the first node, of a Redis that begins.
known_master() {
  for sentinel in $SENTINELS; do
    [ "$sentinel" != "$SELF" ] || continue
    told "$sentinel" | grep . && return
  done
  if [ -e "$DATA/sentinel.conf" ]; then
    sed -n "s/^sentinel monitor $MASTER \([^ ]*\) .*/\1/p" "$DATA/sentinel.conf" | grep . && return
  fi
  for node in $NODES; do
    replication "$node" master_host | grep . && return
  done
  for node in $NODES; do
    if [ "$(replication "$node" role)" = master ]; then
      echo "$node"
      return
    fi
  done
  echo "${NODES%% *}"
}

sentinel() {
  master=$(known_master)
  echo "the master is $master"
  umask 077
  {
    passwords
    # One that comes back must not count as one more.
    echo "sentinel resolve-hostnames yes"
    echo "sentinel announce-hostnames yes"
    echo "sentinel announce-ip $SELF"
    echo "sentinel announce-port $SENTINEL_PORT"
    printf 'sentinel sentinel-pass "%s"\n' "$(cat "$SECRETS/password")"
    echo "sentinel monitor $MASTER $master $PORT $QUORUM"
    printf 'sentinel auth-pass %s "%s"\n' "$MASTER" "$(cat "$SECRETS/password")"
    echo "sentinel down-after-milliseconds $MASTER $DOWN_AFTER"
    # The next try comes after twice that.
    echo "sentinel failover-timeout $MASTER 10000"
    for node in $NODES; do
      [ "$node" = "$master" ] || echo "sentinel known-replica $MASTER $node $PORT"
    done
    number=0
    for host in $SENTINELS; do
      number=$((number + 1))
      id=$(printf '%040d' "$number")
      if [ "$host" = "$SELF" ]; then
        echo "sentinel myid $id"
      else
        echo "sentinel known-sentinel $MASTER $host $SENTINEL_PORT $id"
      fi
    done
    # What it has voted for, it must not vote against.
    if [ -e "$DATA/sentinel.conf" ]; then grep -E '^sentinel (current-epoch|config-epoch|leader-epoch) ' "$DATA/sentinel.conf" || true; fi
  } >"$DATA/sentinel.new"
  mv "$DATA/sentinel.new" "$DATA/sentinel.conf"
  exec redis-server "$DATA/sentinel.conf" "$@" --sentinel
}

# sentinel_ready: with a password that the master doesn't know, it is disconnected.
sentinel_ready() {
  [ "$(ask "$LOCAL" "$SENTINEL_PORT" -e sentinel master "$MASTER" | sed -n '/^flags$/{n;p;}')" = master ]
}

command=$1
shift
case $command in
  node) node "$@" ;;
  node-ready) node_ready ;;
  node-stop) node_stop ;;
  sentinel) sentinel "$@" ;;
  sentinel-ready) sentinel_ready ;;
  *) echo "$0 has no command $command" >&2; exit 2 ;;
esac
