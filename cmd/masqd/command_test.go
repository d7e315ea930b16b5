package main

import (
	"bytes"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/masq-cni/masq-cni/cmd/masqd/internal/daemon"
	"github.com/masq-cni/masq-cni/pkg/nodeconf"
)

// flagSet returns a set with the flag --state-dir and the flags of ip-masq-agent.
func flagSet() (flags *pflag.FlagSet, dir *string, overrides func() []daemon.Override) {
	flags = pflag.NewFlagSet("masqd", pflag.ContinueOnError)
	dir = flags.String("state-dir", "/default", "")
	return flags, dir, legacyFlags(flags)
}

// variable returns the name of the variable that sets a flag.
func variable(flag string) string {
	return "MASQD_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

func TestEnvironment(t *testing.T) {
	flags, dir, overrides := flagSet()
	if err := flags.Parse([]string{"--masq-chain=GIVEN"}); err != nil {
		t.Fatal(err)
	}
	err := fromEnvironment(flags, []string{
		"PATH=/bin", "MASQ_BIN=bin", "MASQD_STATE_DIR=/a=b", "MASQD_MASQ_CHAIN=OTHER",
		"MASQD_LOG_DIR=/var/log", "MASQD_LEGACY_STDERR_THRESHOLD_BEHAVIOR=false", "MASQD_V=4",
	})
	if err != nil {
		t.Fatal(err)
	}
	if *dir != "/a=b" {
		t.Errorf("--state-dir is %q", *dir)
	}
	got := map[string]string{}
	for _, o := range overrides() {
		got[o.Name] = o.Value
	}
	want := map[string]string{"masq-chain": "GIVEN", "log_dir": "/var/log", "legacy_stderr_threshold_behavior": "false", "v": "4"}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("--%s is %q, want %q", name, got[name], value)
		}
	}
	if len(got) != len(want) {
		t.Errorf("overrides: %v", got)
	}
}

// A flag of one letter can have one hyphen or two.
func TestVerbosity(t *testing.T) {
	for _, args := range []string{"-v=2", "-v 2", "--v=2", "--v 2"} {
		flags, _, overrides := flagSet()
		if err := flags.Parse(strings.Fields(args)); err != nil {
			t.Error(err)
		}
		if got := overrides(); len(got) != 1 || got[0].Name != "v" || got[0].Value != "2" {
			t.Errorf("%s sets %+v", args, got)
		}
	}
	// --version has no short form, because -v is the verbosity of ip-masq-agent.
	if out := help(t, "-v=2", "--help"); !strings.Contains(out, "-v, --v string") || strings.Contains(out, "-v, --version") {
		t.Errorf("--help prints\n%s", out)
	}
}

func help(t *testing.T, args ...string) string {
	t.Helper()
	var out, diag bytes.Buffer
	if code := run(args, nil, &out, &diag); code != 0 {
		t.Errorf("exit code %d\n%s", code, diag.String())
	}
	return out.String()
}

// Each flag of ip-masq-agent has its own variable.
func TestEnvironmentOfEachFlag(t *testing.T) {
	seen := map[string]bool{"MASQD_STATE_DIR": true}
	for _, l := range nodeconf.LegacyFlags() {
		name := variable(l.Name)
		if seen[name] {
			t.Errorf("%s sets two flags", name)
		}
		seen[name] = true
		flags, _, overrides := flagSet()
		if err := fromEnvironment(flags, []string{name + "=true"}); err != nil {
			t.Error(err)
		}
		if got := overrides(); len(got) != 1 || got[0].Name != l.Name || got[0].Value != "true" {
			t.Errorf("%s sets %+v", name, got)
		}
	}
}

func TestInvalidEnvironment(t *testing.T) {
	flags, _, _ := flagSet()
	flags.Bool("pprof", false, "")
	err := fromEnvironment(flags, []string{"MASQD_STATEDIR=/x", "MASQD_PPROF=maybe", "MASQD_LISTEN_PORT=9468", "MASQD_=x"})
	const want = `MASQD_STATEDIR: masqd has no such flag; unset the variable, or see masqd --help for the flags
MASQD_PPROF: invalid argument "maybe" for "--pprof" flag: strconv.ParseBool: parsing "maybe": invalid syntax
MASQD_LISTEN_PORT: masqd has no such flag; unset the variable, or see masqd --help for the flags
MASQD_: masqd has no such flag; unset the variable, or see masqd --help for the flags`
	if err == nil || err.Error() != want {
		t.Errorf("error:\n%v", err)
	}
}

// masqd starts although a Service has its name.
func TestEnvironmentOfServices(t *testing.T) {
	flags, dir, overrides := flagSet()
	err := fromEnvironment(flags, []string{
		"MASQD_SERVICE_HOST=10.0.0.11", "MASQD_SERVICE_PORT=9468", "MASQD_SERVICE_PORT_METRICS=9468", "MASQD_PORT=tcp://10.0.0.11:9468",
		"MASQD_PORT_9468_TCP=tcp://10.0.0.11:9468", "MASQD_PORT_9468_TCP_PROTO=tcp", "MASQD_PORT_9468_TCP_PORT=9468", "MASQD_PORT_9468_TCP_ADDR=10.0.0.11",
		"MASQD_METRICS_SERVICE_HOST=10.0.0.12", "MASQD_METRICS_PORT=udp://10.0.0.12:9", "MASQD_METRICS_PORT_9_UDP=udp://10.0.0.12:9",
	})
	if err != nil || *dir != "/default" || len(overrides()) != 0 {
		t.Error(err, *dir, overrides())
	}
}

func TestSources(t *testing.T) {
	got, err := parseSources([]string{"10.244.0.0/16", " fd00::/8", "10.244.0.0/16"})
	want := []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00::/8")}
	if err != nil || !slices.Equal(got, want) {
		t.Error(got, err)
	}
	_, err = parseSources([]string{"10.244.0.1/16", "10.244.0.0/16", "x", "::ffff:10.0.0.0/104"})
	const faults = `--source-cidrs: "10.244.0.1/16": has bits beyond its length; write "10.244.0.0/16"
--source-cidrs: "x": is not a prefix; give one such as "10.0.0.0/8" or "fd00::/8"
--source-cidrs: "::ffff:10.0.0.0/104": is IPv4 mapped into IPv6; write "10.0.0.0/8"`
	if err == nil || err.Error() != faults {
		t.Errorf("error:\n%v", err)
	}
}

// The agent of Azure takes a number of seconds.
func TestInterval(t *testing.T) {
	var d time.Duration
	for text, want := range map[string]time.Duration{"60": time.Minute, "90s": 90 * time.Second, "1m": time.Minute} {
		if err := (*interval)(&d).Set(text); err != nil || d != want {
			t.Errorf("%s: %s, %v", text, d, err)
		}
	}
	for _, text := range []string{"", "a minute", "-1", "1.5"} {
		if err := (*interval)(&d).Set(text); err == nil {
			t.Errorf("%q is %s", text, d)
		}
	}
}

// ip-masq-agent takes long flags with one hyphen.
func TestOneHyphen(t *testing.T) {
	got := twoHyphens([]string{"-masq-chain=X", "-enable-ipv6", "-v=2", "-v", "2", "--log_dir", "-", "-h", "--", "-config"})
	want := []string{"--masq-chain=X", "--enable-ipv6", "-v=2", "-v", "2", "--log_dir", "-", "-h", "--", "-config"}
	if !slices.Equal(got, want) {
		t.Errorf("arguments: %q", got)
	}
}

// TestInvalidFlags checks that all invalid values are reported at start, each with its flag.
func TestInvalidFlags(t *testing.T) {
	var diag bytes.Buffer
	args := []string{
		"--state-dir=", "--resync-interval=1ms", "--doctor-interval=1ms", "--sweep-grace=-1s", "--attachment-metrics=-1", "--nat-log-size=5", "--nat-log-age=-1h",
	}
	const want = `masqd: --state-dir is empty; give a directory, or omit the flag
--resync-interval 1ms is below 1s; give 1s or more
--doctor-interval 1ms is below 1s; give 1s or more, or 0 for never
--sweep-grace -1s is below 0; give a duration such as 2m
--attachment-metrics -1 is below 0; give a number of attachments, or 0 for none
--nat-log-size 5 is too small for the files of the log; give 256Mi or more
--nat-log-age -1h0m0s is too short; give 8s or more, or 0 for no limit
`
	if code := run(args, nil, io.Discard, &diag); code != 1 || diag.String() != want {
		t.Errorf("exit code %d\n%s", code, diag.String())
	}
}

// TestInvalidAddresses checks that invalid addresses and web configurations are reported at
// start, each with its flag.
func TestInvalidAddresses(t *testing.T) {
	web := filepath.Join(t.TempDir(), "web.yml")
	if err := os.WriteFile(web, []byte("tls_server_confg: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var diag bytes.Buffer
	args := []string{"--listen=127.0.0.1:9468,9468,unix:masqd.sock", "--health-listen=127.0.0.1:9468", "--web.config.file=" + web}
	code := run(args, nil, io.Discard, &diag)
	lines := strings.Split(diag.String(), "\n")
	for _, want := range []string{"--listen: address 9468: missing port", `--listen: "masqd.sock" is not the absolute path`, "--health-listen 127.0.0.1:9468 is an address of --listen too", "--web.config.file " + web + ": "} {
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, want) }) {
			t.Errorf("%q is not reported in\n%s", want, diag.String())
		}
	}
	if code != 1 {
		t.Errorf("exit code %d", code)
	}
	var l addressList
	if err := l.Set(" :1 , unix:/s,"); err != nil || l.String() != ":1,unix:/s" {
		t.Errorf("%q, %v", l, err)
	}
	if err := l.Set(""); err != nil || len(l) != 0 {
		t.Errorf("%q, %v", l, err)
	}
}

// TestHelpGroups checks that --help has separate groups for the flags of masqd, for effective
// flags of ip-masq-agent, and for flags without effect.
func TestHelpGroups(t *testing.T) {
	out := help(t, "--help")
	own, rest, ok := strings.Cut(out, "\nFlags of ip-masq-agent:\n")
	effective, without, ok2 := strings.Cut(rest, "\nFlags of ip-masq-agent that have no effect here:\n")
	if !ok || !ok2 {
		t.Fatalf("no groups in\n%s", out)
	}
	for flag, group := range map[string]string{
		"--nat-log-size": own, "--resync-interval": own, "--enable-ipv6": effective, "--to-ports": effective,
		"--masq-chain": without, "--logtostderr": without, "--log_dir": without, "--v": without,
	} {
		if !strings.Contains(group, " "+flag+" ") || strings.Count(out, " "+flag+" ") != 1 {
			t.Errorf("%s is not in its group:\n%s", flag, out)
		}
	}
}
