package metrics

import (
	"github.com/masq-cni/masq-cni/pkg/ipfix"
	"github.com/masq-cni/masq-cni/pkg/natlog"
)

// natLogMetrics describe the NAT log on disk.
var natLogMetrics = []metric[natlog.Stats]{
	counter("nat_log_records_total", "Records that the NAT log accepted.", func(s *natlog.Stats) uint64 { return s.Appended }),
	counter("nat_log_lost_total", "Records that the NAT log lost; a gap record in the log has their number.", func(s *natlog.Stats) uint64 { return s.Lost }),
	gauge("nat_log_bytes", "Size of all files of the NAT log.", func(s *natlog.Stats) int64 { return s.Bytes }),
	gauge("nat_log_files", "Number of files of the NAT log.", func(s *natlog.Stats) int { return s.Files }),
	boolean("nat_log_stopped", "1 if the NAT log cannot be written, for example because the disk is full.", func(s *natlog.Stats) bool { return s.Err != nil }),
}

// exportMetrics describe the export to an IPFIX collector.
var exportMetrics = []metric[ipfix.Stats]{
	counter("nat_log_export_sent_total", "Records of the NAT log sent to the IPFIX collector.", func(s *ipfix.Stats) uint64 { return s.Sent }),
	counter("nat_log_export_lost_total", "Records of the NAT log that were not sent to the IPFIX collector, or that may not have arrived; the collector receives their number.", func(s *ipfix.Stats) uint64 { return s.Lost }),
	boolean("nat_log_export_stopped", "1 if records cannot be sent to the IPFIX collector.", func(s *ipfix.Stats) bool { return s.Err != nil }),
}
