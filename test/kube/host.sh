# The first process of a node. Its mounts end with it.
#
#	host.sh NAME DISK      DISK is kept after the node ends
set -euo pipefail
name=$1 disk=$2
# Read before /proc is mounted: the ID of this process outside its namespace.
read -r pid _ </proc/self/stat
hostname "$name"

own() { # own DIRECTORY: mounts a directory of the disk, empty at the first start
	mkdir -p "$disk$1" "$1"
	mount --bind "$disk$1" "$1"
}
for dir in etc opt; do
	mkdir -p "$disk/overlay/$dir"/{upper,work}
	mount -t overlay -o "lowerdir=/$dir,upperdir=$disk/overlay/$dir/upper,workdir=$disk/overlay/$dir/work" overlay "/$dir"
done
own /etc/cni
own /opt/cni
own /var/lib
own /var/log
mount -t tmpfs -o mode=755 tmpfs /run

# /sys shows the links of the network namespace that it was mounted in. ip netns exec
# mounts it too, but the control groups below are lost there.
mkdir /run/cgroup
mount --rbind /sys/fs/cgroup /run/cgroup
mount -t sysfs sysfs /sys
mount --rbind /run/cgroup /sys/fs/cgroup
umount -l /run/cgroup
rmdir /run/cgroup

mount -t proc proc /proc
# The kubelet would change these settings of the whole machine.
while read -r key value; do
	mkdir -p "$disk/sysctl/${key%/*}"
	echo "$value" >"$disk/sysctl/$key"
	mount --bind "$disk/sysctl/$key" "/proc/sys/$key"
done <<-END
	vm/overcommit_memory 1
	vm/panic_on_oom 0
	kernel/panic 10
	kernel/panic_on_oops 1
	kernel/keys/root_maxkeys 1000000
	kernel/keys/root_maxbytes 25000000
END
mount --make-rshared /

echo "$pid"
# Run until the test closes the other end. bash reaps orphans meanwhile.
while read -r _; do :; done
