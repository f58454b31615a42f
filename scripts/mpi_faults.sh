#!/usr/bin/env bash
# Two network namespaces as two machines: a training over both, a rank killed at a random moment, again and again, then the
# link between them cut. Never a hang, never a lost checkpoint. Needs root, Open MPI 4 and iproute2; about 7 s for each kill.
# usage: scripts/mpi_faults.sh [BUILD [KILLS]]
set -u
tundra=$(realpath "${1:-build}/tundra") kills=${2:-100}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
work=$(mktemp -d) a=tundra_$$a b=tundra_$$b
finish() { ip netns del $a; ip netns del $b; rm -rf "$work"; }
trap finish EXIT
cd "$work" || exit 1
ip netns add $a && ip netns add $b && ip link add v$$a netns $a type veth peer name v$$b netns $b || exit 1
ip -n $a addr add 10.77.0.1/24 dev v$$a && ip -n $b addr add 10.77.0.2/24 dev v$$b
for end in a b; do ip -n tundra_$$$end link set lo up; ip -n tundra_$$$end link set v$$$end up; done

cat >agent <<END  # stands for ssh: OPTIONS HOST COMMAND
#!/bin/bash
while [ "\${1#-}" != "\$1" ]; do shift; done
shift
exec ip netns exec $b unshare --uts bash -c "hostname hostb; \$*"
END
cat >start <<END  # mpirun on the first machine, which notices a lost machine after 11 s instead of two hours
hostname hosta
exec mpirun --host 10.77.0.1:1,10.77.0.2:1 --mca plm_rsh_agent $work/agent --mca pml ob1 --mca btl tcp,self --bind-to none \\
    --mca oob_tcp_if_include 10.77.0.0/24 --mca btl_tcp_if_include 10.77.0.0/24 \\
    --mca oob_tcp_keepalive_time 5 --mca oob_tcp_keepalive_intvl 2 --mca oob_tcp_keepalive_probes 3 -n 2 "\$@"
END
chmod +x agent
"$tundra" synth scenes --task detect --images 26 --cameras 2 --size 160x128 --seed 3 -q >/dev/null || exit 1
failures=0
bad() { echo "FAILED: $*"; tail -5 log; failures=$((failures + 1)); }
steps() { cat run/log.jsonl 2>/dev/null | grep -c '"rate"'; }
train() {  # in the background, as job $job; returns when it has made ten more steps
    local before=$(($(steps) + 10))
    rm -f pid.*
    timeout 120 ip netns exec $a unshare --uts bash start sh -c 'echo $$ >pid.$OMPI_COMM_WORLD_RANK; exec "$@"' sh "$tundra" train scenes \
        --task detect --model yolov5n --image-size 64 --epochs 100000 --batch 6 --validation 0.3 --augment none --device cpu --threads 1 \
        --save-minutes 0.02 --out run -q >log 2>&1 &
    job=$!
    for _ in $(seq 300); do [ "$(steps)" -ge "$before" ] && return; kill -0 $job 2>/dev/null || break; sleep 0.1; done
    bad "no progress"
}
ended() {  # after what; within 30 s, with a checkpoint that is not older than the last one
    local start=$SECONDS
    wait $job; code=$?
    [ $((SECONDS - start)) -le 30 ] || bad "$1: ended after $((SECONDS - start)) s"
    [ $code != 0 ] && [ $code != 124 ] || bad "$1: exit code $code"
    "$tundra" inspect "$(ls run/checkpoints/step-*.safetensors | sort -V | tail -1)" >/dev/null || bad "$1: the newest checkpoint cannot be read"
    local now
    now=$(ls run/checkpoints | sed 's/step-\([0-9]*\).*/\1/' | sort -n | tail -1)
    [ "$now" -ge "$newest" ] || bad "$1: the newest checkpoint was $newest and is $now"
    newest=$now
    for pid in $(cat pid.*); do  # mpirun may end a moment before them
        while [[ "$(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null | cut -c1)" == [RSD] ]]; do
            [ $((SECONDS - start)) -le 30 ] || { bad "$1: a rank still runs"; break; }
            sleep 0.1
        done
    done
}
newest=0
for kill in $(seq "$kills"); do
    train
    sleep "0.$((RANDOM % 900 + 100))"
    kill -KILL "$(cat pid.$((RANDOM % 2)))" 2>/dev/null
    ended "kill $kill"
done
train
ip -n $a link set v$$a down
ended "cut link"
echo "$kills ranks killed, one link cut, $failures failures; $(steps) steps, newest checkpoint $newest"
exit $((failures > 0))
