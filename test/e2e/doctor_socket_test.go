package e2e

import (
	"net/netip"

	"github.com/masq-cni/masq-cni/test/assert"
)

// socketFixtures make the faults of doctor's socket checks.
var socketFixtures = []doctorFixture{
	{check: "dns-unanswered", fault: (*doctorLab).silenceDNS},
}

// found waits until doctor has a finding.
func (l *doctorLab) found() {
	l.t.Helper()
	until(l.t, "doctor has a finding", func() bool {
		r, _ := l.doctor(l.args...)
		return len(r.Findings) > 0
	})
}

// silenceDNS has one container ask a DNS server that answers, which is the control, and the other
// ask one that does not.
func (l *doctorLab) silenceDNS() {
	l.t.Helper()
	server := at(l.V4.Server, 53)
	answers := assert.Must(l.Server.ServeUDP(server))(l.t)
	assert.NoError(l.t, l.pods[1].EchoUDP(soon(l.t), netip.AddrPort{}, server, 30))
	assert.NoError(l.t, answers.Close())
	silent := assert.Must(l.Server.ListenUDP(server))(l.t)
	l.t.Cleanup(func() { _ = silent.Close() })
	for range 2 {
		c := assert.Must(l.pods[0].DialUDP(netip.AddrPort{}, server))(l.t)
		assert.Must(c.Write(make([]byte, 30)))(l.t)
		assert.NoError(l.t, c.Close())
	}
	l.found()
}
