# What a pod does with the image: Ray as KubeRay starts it, then serve.yaml as KubeRay deploys it, then SIGTERM. It runs
# inside the image, without rights, on a read-only root. Each line of its output is a fact that the test compares.
set -eu
files=$(python -c 'from importlib import resources; print(resources.files("cluster") / "files")')
valkey=$(python -c 'from cluster.local.redis_binary import packaged; print(packaged())')
mkdir /tmp/notifications /tmp/gcs
"$valkey" "$files/redis.conf" --bind 127.0.0.1 --port 6380 --dir /tmp/notifications >/tmp/notifications.log &
"$valkey" --bind 127.0.0.1 --port 6381 --dir /tmp/gcs --save "" --requirepass "$REDIS_PASSWORD" >/tmp/gcs.log &

python -c '
from cluster.local.redis_checks import check, connect
check(connect("${DISPATCHER_REDIS_URL}"), unsafe=False)'
echo "redis checked"

bash -lc -- 'ulimit -n 65536; ray start --head --block --num-cpus=4 --object-store-memory=78643200 \
    --redis-password=$REDIS_PASSWORD --dashboard-host=0.0.0.0 --dashboard-agent-listen-port=52365' >/tmp/ray.log 2>&1 &
ray=$!
answers() {  # URL: waits until it says 200; what it says then
    for _ in $(seq 600); do
        if wget --tries 1 -T 2 -q -O- "$1" 2>/tmp/wget.log; then echo; return; fi
        kill -0 $ray || { tail -50 /tmp/ray.log; exit 3; }
        sleep 0.5
    done
    echo "$1 says nothing"; tail -20 /tmp/ray.log; exit 4
}
echo "node $(answers http://127.0.0.1:52365/api/healthz)"
serve deploy "$files/serve.yaml" >/tmp/deploy.log 2>&1 || { tail -20 /tmp/deploy.log; exit 5; }
echo "proxy $(answers http://127.0.0.1:8000/-/healthz)"
echo "intake $(answers http://127.0.0.1:8000/readyz)"
echo "without a key $(wget --tries 1 -S -O- http://127.0.0.1:8000/v1/vendors 2>&1 | grep -c ' 401 ')"
echo "process $(ps -o comm= -p $ray)"
kill -TERM $ray
code=0; wait $ray || code=$?
echo "ended $code after SIGTERM"
