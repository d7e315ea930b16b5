package deploy

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"testing"
	"time"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/client_golang/prometheus"
	clientconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/tsdb"
	"sigs.k8s.io/yaml"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// server is a Prometheus without its web pages: it scrapes, stores and evaluates.
type server struct {
	t      *testing.T
	store  *tsdb.DB
	engine *promql.Engine
	parser parser.Parser
}

// scrapes starts a Prometheus that scrapes a masqd in a namespace each second, with the
// labels of deploy/monitoring/podmonitor.yaml.
func scrapes(t *testing.T, ns *nstest.NS, at string) *server {
	t.Helper()
	quiet := promslog.NewNopLogger()
	s := &server{t: t, parser: parser.NewParser(parser.Options{})}
	s.store = assert.Must(tsdb.Open(t.TempDir(), quiet, nil, tsdb.DefaultOptions(), nil))(t)
	t.Cleanup(func() { assert.NoError(t, s.store.Close()) })
	s.engine = promql.NewEngine(promql.EngineOpts{Logger: quiet, MaxSamples: 1e6, Timeout: 10 * time.Second, Parser: s.parser})
	t.Cleanup(func() { assert.NoError(t, s.engine.Close()) })

	conf := assert.Must(config.Load(`
global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs: [{job_name: masq-cni, honor_labels: `+honorLabels(t)+`}]
`, quiet))(t)
	inside := clientconfig.WithDialContextFunc(func(ctx context.Context, network, address string) (net.Conn, error) {
		return ns.Dial(ctx, network, netip.AddrPort{}, netip.MustParseAddrPort(address))
	})
	m := assert.Must(scrape.NewManager(&scrape.Options{
		DiscoveryReloadInterval: model.Duration(10 * time.Millisecond),
		HTTPClientOptions:       []clientconfig.HTTPClientOption{inside},
	}, quiet, nil, s.store, nil, prometheus.NewRegistry()))(t)
	assert.NoError(t, m.ApplyConfig(conf))
	targets, ended := make(chan map[string][]*targetgroup.Group, 1), make(chan error, 1)
	targets <- map[string][]*targetgroup.Group{"masq-cni": {{
		Source: "test",
		Targets: []model.LabelSet{{
			model.AddressLabel: model.LabelValue(at), model.InstanceLabel: "n1",
			"namespace": "kube-system", "pod": "masq-cni-x", "container": "masqd", // labels that the operator adds
		}},
	}}}
	go func() { ended <- m.Run(targets) }()
	t.Cleanup(func() {
		m.Stop()
		assert.NoError(t, <-ended)
	})
	return s
}

// honorLabels returns the PodMonitor's value of that name.
func honorLabels(t *testing.T) string {
	t.Helper()
	var m monitoring.PodMonitor
	assert.NoError(t, yaml.UnmarshalStrict(read(t, "deploy/monitoring/podmonitor.yaml"), &m))
	return strconv.FormatBool(m.Spec.PodMetricsEndpoints[0].HonorLabels)
}

// ask evaluates an expression now.
func (s *server) ask(expr string) promql.Vector {
	s.t.Helper()
	q := assert.Must(s.engine.NewInstantQuery(s.t.Context(), s.store, nil, expr, time.Now()))(s.t)
	defer q.Close()
	r := q.Exec(s.t.Context())
	if r.Err != nil {
		s.t.Fatalf("%s: %v", expr, r.Err)
	}
	v := assert.Must(r.Vector())(s.t)
	return slices.Clone(v)
}

func (s *server) answers(expr string) bool { return len(s.ask(expr)) > 0 }

// selectors returns the series that an expression needs.
func (s *server) selectors(expr string) (out []string) {
	s.t.Helper()
	e, err := s.parser.ParseExpr(expr)
	if err != nil {
		s.t.Fatalf("%s: %v", expr, err)
	}
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		if v, ok := n.(*parser.VectorSelector); ok {
			out = append(out, v.String())
		}
		return nil
	})
	if len(out) == 0 {
		s.t.Errorf("%s asks for nothing", expr)
	}
	return out
}

// patience bounds work that takes seconds, on a slow machine too.
const patience = 5 * time.Minute

// until waits for a condition, and calls meanwhile until it holds.
func until(t *testing.T, meanwhile func(), what func() (missing string)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience) // also after the test has ended
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		missing := what()
		if missing == "" {
			return
		}
		if meanwhile != nil {
			meanwhile()
		}
		select {
		case <-ctx.Done():
			t.Fatalf("timeout: after %s still missing: %s", patience, missing)
		case <-tick.C:
		}
	}
}
