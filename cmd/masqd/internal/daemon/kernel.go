package daemon

import (
	"log/slog"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/reconcile"
)

// logFeatures logs the optional features that the kernel has and lacks, and returns them.
// Without one, only what needs it does not work.
func logFeatures(log *slog.Logger, rules *nft.Conn) map[string]bool {
	all, err := rules.Features()
	if err != nil {
		log.Warn("features of the kernel cannot be read", "err", err)
	}
	features := map[string]bool{}
	var available, missing []string
	for _, f := range all {
		if features[f.Name] = f.Available; f.Available {
			available = append(available, f.Name)
			continue
		}
		missing = append(missing, f.Name)
		attrs := []any{"feature", f.Name, "purpose", f.For}
		if f.Module != "" {
			attrs = append(attrs, "remedy", "modprobe "+f.Module)
		}
		log.Info("kernel lacks a feature", attrs...)
	}
	log.Info("kernel features", "available", available, "missing", missing)
	return features
}

// helperReporter logs, once per policy, which conntrack helpers of the node's policy the
// kernel lacks.
type helperReporter struct {
	*nft.Conn
	node     func() reconcile.NodeConfig
	log      *slog.Logger
	reported *masq.Policy
}

// SyncStructure implements reconcile.Rules.
func (r *helperReporter) SyncStructure(d nft.Desired) (nft.StructureResult, error) {
	result, err := r.Conn.SyncStructure(d)
	if p := r.node().Policy; err == nil && p != nil && p != r.reported {
		r.reported = p
		r.report(*p)
	}
	return result, err
}

// report logs the helpers that cannot translate. The rest of the policy works.
func (r *helperReporter) report(p masq.Policy) {
	if r.HasNAT(p) {
		return
	}
	missing, err := r.MissingHelpers(p)
	if err != nil {
		r.log.Warn("conntrack helpers of the kernel cannot be read", "err", err)
	}
	for _, m := range missing {
		r.log.Warn("kernel does not translate addresses in the payload of a helper", "helper", m.Helper, "module", m.Module, "remedy", "modprobe "+m.Module)
	}
}

// processorTime returns the processor time of this process.
func processorTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
