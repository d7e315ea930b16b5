// Package hostlocal leases addresses on the files of the IPAM plugin host-local,
// without starting it. What one leases the other sees, releases and counts on:
// configuration, directory, lock, names and contents of files, order of addresses
// and results are those of host-local 1.9.1.
//
// A network's leases are files in <ipam.dataDir>/<network>, by default below
// /var/lib/cni/networks:
//
//	lock                  flock(2) is held for each change
//	10.0.0.2              "<container ID>\r\n<interface>"; old versions: "<container ID>"
//	last_reserved_ip.0    the latest address of the first range set: the search
//	                      for the next goes on behind it
//	lease.new             a lease on its way; found without the lock being held, it
//	                      is what a killed process left, and means nothing
//
// It differs from host-local where that would be a loss to nobody:
//
//   - A lease appears with its content, by rename, so that a process killed at any
//     point leaves no empty file. An empty file that host-local left so is a lease of
//     nobody: Collect removes it.
//   - A Lease that fails takes back what it took, and no more. host-local releases
//     everything of the attachment, earlier leases too.
//   - An IPv4 range that starts at the broadcast address, without an end, is a fault.
//     host-local accepts it, and leases addresses outside the subnet from the second on.
//   - A null among routes, or among addresses asked for, is a fault. host-local passes
//     on the former and panics at the latter.
//   - DEL and CHECK do not create the directory.
//   - Only files with the name of an address are leases, and subdirectories are not
//     entered.
//
// To debug: `grep -r . /var/lib/cni/networks/<network>` shows who holds what, and
// `lslocks` who holds the lock.
package hostlocal
