// Package hostlocal leases addresses in the files of the IPAM plugin host-local, without
// starting that plugin. Both programs can work on the same network: configuration,
// directory, lock, file names, file contents, order of addresses and results are the same
// as in host-local 1.9.1.
//
// The leases of a network are files in <ipam.dataDir>/<network>, by default in
// /var/lib/cni/networks/<network>:
//
//	lock                  locked by flock(2) during each change
//	10.0.0.2              "<container ID>\r\n<interface>"; old versions: "<container ID>"
//	last_reserved_ip.0    the last address leased from the first range set: the search
//	                      for the next address continues after it
//	lease.new             a lease that is being written. If no process holds the lock, a
//	                      killed process left it, and it has no meaning
//
// The package differs from host-local in these points:
//
//   - A lease appears with its content, by a rename, so that a killed process leaves no
//     empty file. An empty file of a killed host-local belongs to no attachment: Collect
//     removes it.
//   - A Lease that fails releases only the addresses that it leased. host-local releases
//     all addresses of the attachment, earlier leases too.
//   - An IPv4 range that starts at the broadcast address and has no end is a fault.
//     host-local accepts it, and from the second lease on leases addresses outside the
//     subnet.
//   - A null among routes or requested addresses is a fault. host-local passes on a null
//     route, and panics at a null address.
//   - DEL and CHECK do not create the directory.
//   - Only files with the name of an address are leases. Subdirectories are ignored.
//
// To debug, `grep -r . /var/lib/cni/networks/<network>` shows the holder of each lease,
// and `lslocks` the holder of the lock.
package hostlocal
