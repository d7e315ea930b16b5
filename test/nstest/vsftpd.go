package nstest

import "fmt"

// VsftpdConf returns a configuration of vsftpd: anonymous users without PAM, on both families.
// empty is an empty directory. Commands are logged as received. The sandbox is off because it
// kills vsftpd for system calls that are newer than vsftpd.
func VsftpdConf(port uint16, root, empty, log string) []byte {
	return fmt.Appendf(nil, `listen=NO
listen_ipv6=YES
listen_port=%d
background=NO
anonymous_enable=YES
anon_root=%s
secure_chroot_dir=%s
ftp_username=daemon
nopriv_user=nobody
no_anon_password=NO
local_enable=NO
connect_from_port_20=YES
seccomp_sandbox=NO
xferlog_enable=YES
log_ftp_protocol=YES
vsftpd_log_file=%s
`, port, root, empty, log)
}
