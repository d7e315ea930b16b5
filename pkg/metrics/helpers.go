package metrics

// Helper is what masqd has done for one helper that it serves.
type Helper struct {
	Name        string
	Connections int    // open now
	Opened      uint64 // ports opened for peers
	Refused     map[string]uint64
	Unreadable  map[string]uint64
}

// helperMetrics describe the helpers of masqd.
var helperMetrics = []metric[[]Helper]{
	gaugeRows("helper_connections", "Open control connections that masqd reads, by helper.", []string{"helper"}, func(all *[]Helper, add func(float64, ...string)) {
		for _, h := range *all {
			add(float64(h.Connections), h.Name)
		}
	}),
	counterRows("helper_opened_total", "Ports that masqd opened because a control connection announced them, by helper.", []string{"helper"}, func(all *[]Helper, add func(float64, ...string)) {
		for _, h := range *all {
			add(float64(h.Opened), h.Name)
		}
	}),
	counterRows("helper_refused_total", "Messages and connections that masqd refused, by helper and reason.", []string{"helper", "reason"}, func(all *[]Helper, add func(float64, ...string)) {
		for _, h := range *all {
			for reason, n := range sums[uint64](h.Refused).largest(MaxKinds) {
				add(float64(n), h.Name, reason)
			}
		}
	}),
	counterRows("helper_unreadable_total", "Connections and datagrams that masqd passed on unread, by helper and what they contain.", []string{"helper", "protocol"}, func(all *[]Helper, add func(float64, ...string)) {
		for _, h := range *all {
			for protocol, n := range sums[uint64](h.Unreadable).largest(MaxKinds) {
				add(float64(n), h.Name, protocol)
			}
		}
	}),
}
