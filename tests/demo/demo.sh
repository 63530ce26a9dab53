#!/bin/bash
# The demonstration: a control plane and hosts come up, tasks run on them through the real aws command, all goes away.
# KEEP=1 leaves it running; HOSTS is a number of lab hosts or `local`; BIN is where the programs were built; DIR is for
# what is written.
set -euo pipefail
cd "$(dirname "$0")/../.."

dir=${DIR:-target/demo}
bold=$'\e[1m' plain=$'\e[0m'
[ -t 1 ] || { bold='' plain=''; }
title() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
run() { # shows a command as a person would type it, and runs it
    local word text=
    for word; do
        case $word in
        *[^A-Za-z0-9_./:=,@%+-]*) text+=" '$word'" ;;
        *) text+=" $word" ;;
        esac
    done
    printf '\n%s$%s%s\n' "$bold" "$text" "$plain" >&2
    "$@"
}
fetch() { # GETs a page, without any proxy; the server in the container may need a moment
    python3 - "$1" <<'PY'
import sys, time, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
for left in range(20, -1, -1):
    try:
        print(opener.open(sys.argv[1], timeout=3).read().decode().strip())
        break
    except OSError as error:
        if not left:
            sys.exit(f"nothing: {error}")
        time.sleep(0.2)
PY
}
# A task's id is enough wherever the API takes an ARN.
ids() { tr '\t' '\n' | sed 's|.*/||' | paste -sd ' '; }

mkdir -p "$dir"

if [ "$HOSTS" = local ]; then
    title "starting a control plane and an agent on this machine's own Docker"
else
    title "starting a control plane and a lab of $HOSTS host(s)"
fi
rm -f "$dir/ready"
setsid "$BIN/longshore-lab" up "$dir" "$HOSTS" >"$dir/log" 2>&1 </dev/null &
holder=$!
finish() {
    status=$?
    trap - EXIT INT TERM
    if [ "$status" = 0 ] && [ -n "$KEEP" ]; then
        exit 0
    fi
    title "cleaning up"
    "$BIN/longshore-lab" down "$dir"
    exit "$status"
}
until [ -e "$dir/ready" ]; do
    if ! kill -0 "$holder" 2>/dev/null; then
        cat "$dir/log"
        exit 1
    fi
    sleep 0.1
done
trap finish EXIT
trap 'exit 130' INT TERM
# shellcheck disable=SC1091
source "$dir/env"
text() { aws ecs "$@" --output text; }

title "the hosts, as ECS container instances"
instances=$(run aws ecs list-container-instances --query 'containerInstanceArns[]' --output text | ids)
# shellcheck disable=SC2086
run aws ecs describe-container-instances --container-instances $instances --output table --query \
    'containerInstances[].{Host:ec2InstanceId,Status:status,Connected:agentConnected,Docker:versionInfo.dockerVersion,Cpu:remainingResources[?name==`CPU`]|[0].integerValue,MemoryMiB:remainingResources[?name==`MEMORY`]|[0].integerValue}'

title "task definitions"
for name in web jobs hostnet; do
    sed "s|IMAGE|$LAB_IMAGE|" "tests/demo/$name.json" >"$dir/$name.json"
    run aws ecs register-task-definition --cli-input-json "file://$dir/$name.json" --output text \
        --query 'taskDefinition.taskDefinitionArn'
done

title "three web servers, spread over the hosts, each on a host port of its own"
web=$(run aws ecs run-task --task-definition web --count 3 --placement-strategy type=spread,field=instanceId \
    --query 'tasks[].taskArn' --output text | ids)
# shellcheck disable=SC2086
run aws ecs wait tasks-running --tasks $web
# shellcheck disable=SC2086
run aws ecs describe-tasks --tasks $web --output table --query \
    'tasks[].{Task:taskArn,Status:lastStatus,HostPort:containers[0].networkBindings[0].hostPort,Image:containers[0].image}'
# Where they are: each task's host by name, and its address in the lab.
# shellcheck disable=SC2086
aws ecs describe-tasks --tasks $web --output text \
    --query 'tasks[].[containerInstanceArn,containers[0].networkBindings[0].hostPort]' | while read -r instance port; do
    name=$(text describe-container-instances --container-instances "${instance##*/}" \
        --query 'containerInstances[0].ec2InstanceId')
    if [ "$HOSTS" = local ]; then address=127.0.0.1; else address=10.99.0.$((10 + ${name#h})); fi
    printf '\nhttp://%s:%s/ on host %s answers: ' "$address" "$port" "$name"
    fetch "http://$address:$port/"
done

title "a job of two containers, which fails with exit code 7, and a task on the host's own network"
jobs=$(run aws ecs run-task --task-definition jobs --query 'tasks[].taskArn' --output text | ids)
host=$(run aws ecs run-task --task-definition hostnet --query 'tasks[].taskArn' --output text | ids)
run aws ecs wait tasks-stopped --tasks "$jobs"
run aws ecs describe-tasks --tasks "$jobs" --output table --query \
    'tasks[].{Status:lastStatus,Code:stopCode,Reason:stoppedReason,Containers:containers[].{Name:name,Exit:exitCode}}'
run aws ecs wait tasks-running --tasks "$host"

if [ "$HOSTS" != local ]; then
    title "tasks with addresses of their own, and a security group that opens and closes"
    subnet=$(run aws ec2 describe-subnets --query 'Subnets[0].SubnetId' --output text)
    group=$(run aws ec2 create-security-group --group-name shop --description 'who may visit the shop' \
        --query GroupId --output text)
    for name in shop visitor; do
        sed "s|IMAGE|$LAB_IMAGE|" "tests/demo/$name.json" >"$dir/$name.json"
        run aws ecs register-task-definition --cli-input-json "file://$dir/$name.json" --output text \
            --query 'taskDefinition.taskDefinitionArn'
    done
    shop=$(run aws ecs run-task --task-definition shop --count 2 --placement-strategy type=spread,field=instanceId \
        --network-configuration "awsvpcConfiguration={subnets=[$subnet],securityGroups=[$group]}" \
        --query 'tasks[].taskArn' --output text | ids)
    # shellcheck disable=SC2086
    run aws ecs wait tasks-running --tasks $shop
    # shellcheck disable=SC2086
    run aws ecs describe-tasks --tasks $shop --output table --query \
        'tasks[].{Task:taskArn,Status:lastStatus,Address:containers[0].networkInterfaces[0].privateIpv4Address}'
    address=$(text describe-tasks --tasks "${shop%% *}" \
        --query 'tasks[0].containers[0].networkInterfaces[0].privateIpv4Address')
    visit() { # a task on another host asks the shop for its page: exit code 0 when it gets it
        local overrides visitor
        overrides='{"containerOverrides":[{"name":"nc","environment":[{"name":"SHOP","value":"'$address'"}]}]}'
        visitor=$(text run-task --task-definition visitor --overrides "$overrides" \
            --network-configuration "awsvpcConfiguration={subnets=[$subnet]}" --query 'tasks[].taskArn' | ids)
        aws ecs wait tasks-stopped --tasks "$visitor"
        printf '\na visitor to http://%s/ ends with exit code %s\n' "$address" \
            "$(text describe-tasks --tasks "$visitor" --query 'tasks[0].containers[0].exitCode')"
    }
    visit
    run aws ec2 authorize-security-group-ingress --group-id "$group" --protocol tcp --port 80 --cidr 10.77.0.0/16 \
        --query Return
    visit
    run aws ec2 revoke-security-group-ingress --group-id "$group" --protocol tcp --port 80 --cidr 10.77.0.0/16 \
        --query Return
    visit
fi

title "stopping one web server"
first=${web%% *}
run aws ecs stop-task --task "$first" --reason 'seen enough' --query 'task.desiredStatus' --output text
run aws ecs wait tasks-stopped --tasks "$first"
# shellcheck disable=SC2086
run aws ecs describe-tasks --tasks $web "$host" --output table --query \
    'tasks[].{Task:taskArn,Group:group,Status:lastStatus,Reason:stoppedReason,Exit:containers[0].exitCode}'

if [ -n "$KEEP" ]; then
    title "left running"
    cat <<TEXT
To use it from a shell:            source target/demo/env
What runs:                         aws ecs list-tasks        (or: longshore ps)
Your own first task:               aws ecs register-task-definition --family mine --container-definitions \\
                                     '[{"name":"c","image":"$LAB_IMAGE","memory":32,"command":["sleep","600"]}]'
                                   aws ecs run-task --task-definition mine
To end it all:                     make demo-down
TEXT
    disown "$holder"
fi
