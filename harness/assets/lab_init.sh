#!/usr/bin/busybox sh
# The first process of a lab. Makes the file systems, says READY on the virtio-serial port `control` and then executes each
# line that comes in there, answering `DONE <status>`. The port is a socket in a private directory of the harness, which
# alone writes to it. What goes wrong before that is one line on the console that begins with `LAB-ERROR:`.

export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root USER=root TERM=linux LC_ALL=C.UTF-8

fail() {
    echo "LAB-ERROR: $*"
    poweroff -f
    sleep 60
}

# Prints the device of a virtio-serial port. They come one by one, a moment after their driver.
port() {
    tries=0
    while [ $tries -lt 500 ]; do
        for name in /sys/class/virtio-ports/*/name; do
            if [ -e "$name" ] && [ "$(cat "$name")" = "$1" ]; then
                device=${name%/name}
                echo "/dev/${device##*/}"
                return
            fi
        done
        sleep 0.02
        tries=$((tries + 1))
    done
    return 1
}

# A line may define functions and variables for those after it. At the end of file (nobody is connected) it waits.
serve_control() {
    exec 3<>"$1"
    echo READY >&3
    while :; do
        if read -r line <&3; then
            eval "$line"
            echo "DONE $?" >&3
        else
            sleep 0.05
        fi
    done
}

/usr/bin/busybox --install -s /usr/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
[ -c /dev/null ] || mount -t devtmpfs devtmpfs /dev || fail "devtmpfs cannot be mounted (CONFIG_DEVTMPFS)"
mkdir -p /dev/pts /dev/shm /dev/virtio-ports
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs -o mode=0755 tmpfs /run
ln -s /proc/self/fd /dev/fd
hostname lab
ifconfig lo up

while read -r module; do
    insmod "$module" || echo "LAB-ERROR: $module cannot be loaded"
done </lib/modules/load

CONTROL_PORT=$(port control) || fail "no virtio-serial port 'control' (CONFIG_VIRTIO_CONSOLE, CONFIG_VIRTIO_PCI)"
SSH_PORT=$(port ssh) || fail "no virtio-serial port 'ssh'"

# In a child of its own, so that this process can reap the orphans of all others (wait() reaps every child).
serve_control "$CONTROL_PORT" &
wait
fail "the control loop has ended"
