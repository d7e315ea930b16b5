package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
)

func TestInspectFaults(t *testing.T) {
	state := t.TempDir()
	for args, want := range map[string]string{
		"inspect -o xml":                 `--output "xml" is not known; give wide, json, yaml`,
		"inspect rule":                   `masq-cni inspect has no command "rule"; did you mean rules? see masq-cni inspect --help`,
		"inspect pod":                    "masq-cni inspect pod needs an argument, a pod as NAMESPACE/NAME or NAME, or the beginning",
		"inspect pod shop/web":           `no attachment belongs to pod or container "shop/web"; give NAMESPACE/NAME, or the beginning of a container's ID, as masq-cni inspect pods -o wide shows them`,
		"inspect flows --proto tpc":      `--proto "tpc" is not known; give one of tcp, `,
		"inspect flows --nat x":          `--nat "x" is not known; give one of snat, dnat, none`,
		"inspect flows --state x":        `--state "x" is not known; give one of none, syn_sent`,
		"inspect flows --src 1.2.3":      `--src "1.2.3" is not known; give an address such as`,
		"inspect flows --dst 1.2.3.4/33": `--dst "1.2.3.4/33" is not known; give an address such as`,
		"inspect flows --sport 0":        `--sport "0" is not known; give a port from 1 to 65535`,
		"inspect flows --dport 9-8":      `--dport "9-8" is not known; give a port from 1 to 65535`,
		"inspect flows --limit -1":       "--limit -1 is below 0",
		"inspect flows --sort x":         `--sort "x" is not known; give one of pod, proto, source`,
		"inspect flows --pod none":       `no attachment belongs to pod or container "none"`,
		"inspect --netns no-such-name":   `--netns "no-such-name": there is no`,
	} {
		code, out, diag := command(t, append(strings.Fields(args), "--state-dir", state)...)
		exit := 1
		if rest := strings.TrimPrefix(args, "inspect "); strings.HasPrefix(rest, "-") || rest == "rule" {
			exit = 2 // of inspect itself, 1 is an answer
		}
		if code != exit || out != "" || !strings.Contains(diag, want) {
			t.Errorf("%s: %d\n%s%s", args, code, out, diag)
		}
	}
	// All that is wrong is said at once.
	if _, _, diag := command(t, "inspect", "flows", "--nat", "x", "--sport", "x\x1b[2J", "--state-dir", state); strings.Count(diag, "is not known") != 2 || strings.Contains(diag, "\x1b") {
		t.Errorf("%q", diag)
	}
}

// In a namespace where nothing is, each command says so and does well.
func TestInspectNothing(t *testing.T) {
	state := t.TempDir()
	for _, words := range []string{"", "pods", "flows", "helpers", "rules", "drift"} {
		for _, format := range []string{"", wide, "json", "yaml"} {
			args := append([]string{"inspect", "--state-dir", state}, strings.Fields(words)...)
			if format != "" {
				args = append(args, "-o", format)
			}
			if code, out, diag := command(t, args...); code != 0 || diag != "" || strings.Contains(out, "null") && format == "json" {
				t.Errorf("%v: %d\n%s%s", args, code, out, diag)
			}
		}
	}
	if files, err := os.ReadDir(state); err != nil || len(files) != 0 {
		t.Errorf("looking has left %v, %v", files, err)
	}
}

// An unread record is said, and what is there is shown all the same.
func TestInspectUnreadRecord(t *testing.T) {
	state, a, _ := nodes(t)
	err := a.Do(func() error {
		records, err := store.Open(state)
		if err != nil {
			return err
		}
		return records.Put(store.Record{Attachment: masq.Attachment{Key: masq.Key{Network: "net", ContainerID: "bad", Interface: "eth0"}}})
	})
	if err != nil {
		t.Fatal(err)
	}
	broken := false
	files, err := filepath.Glob(filepath.Join(state, "attachments", "*.json"))
	for _, f := range files {
		if b, _ := os.ReadFile(f); strings.Contains(string(b), `"bad"`) {
			broken = os.WriteFile(f, b[:20], 0o600) == nil
		}
	}
	if !broken {
		t.Fatal(files, err)
	}
	for _, words := range []string{"", "pods", "flows", "rules"} {
		code, out, diag := command(t, append([]string{"inspect", "--state-dir", state, "--netns", a.Name()}, strings.Fields(words)...)...)
		if words == "" {
			diag = out // it is one of the problems
		}
		if code != 1 || out == "" || !strings.Contains(strings.Join(strings.Fields(diag), " "), "not a record") {
			t.Errorf("inspect %s: %d\n%s%s", words, code, out, diag)
		}
	}
}

func TestDriftThatCannotLook(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "attachments"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for words, want := range map[string]string{
		"--state-dir " + dir: "list the records",
		"--netns nosuch":     "--netns",
		"--badflag":          "badflag",
		"word":               "word",
	} {
		code, _, diag := command(t, append([]string{"inspect", "drift"}, strings.Fields(words)...)...)
		if code != 2 || !strings.Contains(diag, want) {
			t.Errorf("%s: %d\n%s", words, code, diag)
		}
	}
}

func TestDaemonOf(t *testing.T) {
	dir := t.TempDir()
	is := func(want report.Daemon) {
		t.Helper()
		if got, err := daemonOf(filepath.Join(dir, "masqd.lock")); err != nil || got != want {
			t.Errorf("%+v, %v, not %+v", got, err, want)
		}
	}
	is(report.Daemon{})
	path := filepath.Join(dir, "masqd.lock")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	is(report.Daemon{}) // a lock that nobody holds
	for _, elsewhere := range []bool{false, true} {
		args := []string{"--no-fork", "-n", path, "sh", "-c", "echo ready; exec sleep infinity"}
		if elsewhere {
			args = slices.Insert(args, 3, "unshare", "--net")
		}
		other := exec.Command("flock", args...)
		out, err := other.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Start(); err != nil {
			t.Fatal(err)
		}
		_, err = fmt.Fscanf(out, "ready\n")
		is(report.Daemon{Running: true, PID: other.Process.Pid, Elsewhere: elsewhere})
		// A process that is stopped holds its lock, and does nothing.
		pid := other.Process.Pid
		err = errors.Join(err, unix.Kill(pid, unix.SIGSTOP))
		if _, waited := unix.Wait4(pid, nil, unix.WUNTRACED, nil); waited != nil {
			t.Fatal(waited)
		}
		is(report.Daemon{PID: pid, Elsewhere: elsewhere, Stopped: true})
		if err := errors.Join(err, other.Process.Kill()); err != nil {
			t.Fatal(err)
		}
		_ = other.Wait() // it is killed
	}
	is(report.Daemon{})
}

// Whatever is chosen by which flag: before translation or after, address and port
// together.
func TestChoice(t *testing.T) {
	f := conntrack.Flow{
		Original: conntrack.Tuple{Src: netip.MustParseAddr("10.88.0.2"), Dst: netip.MustParseAddr("192.0.2.2"), SrcPort: 40000, DstPort: 80, Proto: unix.IPPROTO_TCP},
		Reply:    conntrack.Tuple{Src: netip.MustParseAddr("10.88.0.3"), Dst: netip.MustParseAddr("192.0.2.2"), SrcPort: 8080, DstPort: 20000, Proto: unix.IPPROTO_TCP},
		Status:   conntrack.SrcNAT | conntrack.DstNAT, State: conntrack.TCPEstablished, Fields: conntrack.HasState,
	}
	for flags, want := range map[string]bool{
		"":                                           true,
		"--src 10.88.0.2":                            true,
		"--src 10.88.0.0/24 --sport 40000":           true,
		"--src 192.0.2.2 --sport 20000":              true,
		"--src 192.0.2.2 --sport 40000":              false,
		"--src 10.88.0.2 --sport 20000-30000":        false,
		"--dst 192.0.2.2 --dport 80":                 true,
		"--dst 10.88.0.3 --dport 8000-9000":          true,
		"--dst 10.88.0.3 --dport 80":                 false,
		"--src ::ffff:10.88.0.2":                     true,
		"--src 10.88.0.3":                            false,
		"--proto TCP --state ESTABLISHED":            true,
		"--state time_wait":                          false,
		"--proto udp":                                false,
		"--nat snat":                                 true,
		"--nat dnat":                                 true,
		"--nat none":                                 false,
		"--src 2001:db8::/32":                        false,
		"--dst 192.0.2.2 --src 10.88.0.2 --nat snat": true,
	} {
		var x choice
		c := &cobra.Command{}
		x.flags(c, &node{})
		if err := c.ParseFlags(strings.Fields(flags)); err != nil {
			t.Fatal(err)
		}
		if err := x.parse(); err != nil {
			t.Errorf("%s: %v", flags, err)
			continue
		}
		queries, err := x.queries(view{})
		if err != nil {
			t.Fatal(err)
		}
		got := slices.ContainsFunc(queries, func(q query) bool { return q.Match(&f) && (q.except == nil || !q.except(&f)) }) && x.match(&f)
		if got != want {
			t.Errorf("%q: %t", flags, got)
		}
	}
}

// The queries of an attachment choose its flows, each once, whatever else there is.
func TestQueriesChooseOnce(t *testing.T) {
	var v view
	var addrs []netip.Addr
	for i := range 20 {
		r := store.Record{Attachment: masq.Attachment{Key: masq.Key{Network: "net", ContainerID: fmt.Sprint("c", i), Interface: "eth0"}}}
		r.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{10, 88, 0, byte(i)}), netip.MustParseAddr(fmt.Sprintf("fd00::%d", i))}
		if i == 7 {
			r.Addresses = append(r.Addresses, netip.MustParseAddr("10.88.1.7"))
		}
		addrs = append(addrs, r.Addresses...)
		v.records = append(v.records, r)
	}
	addrs = append(addrs, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"))
	v.owners = report.OwnersOf(v.records)
	for _, base := range []conntrack.Filter{{}, {Family: masq.IPv4}, {Family: masq.IPv6}} {
		for _, of := range [][]int{{0}, {7}, {3, 4}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}} {
			queries := v.queries(of, base)
			for _, from := range addrs {
				for _, to := range addrs {
					if from.Is4() != to.Is4() {
						continue
					}
					f := conntrack.Flow{Original: conntrack.Tuple{Src: from, Dst: to}, Reply: conntrack.Tuple{Src: to, Dst: from}}
					times := 0
					for _, q := range queries {
						if q.Match(&f) && (q.except == nil || !q.except(&f)) {
							times++
						}
					}
					want := 0
					if (slices.Contains(of, v.owners.Index(from)) || slices.Contains(of, v.owners.Index(to))) && base.Match(&f) {
						want = 1
					}
					if times != want {
						t.Fatalf("%v of %+v: %s > %s comes %d times, not %d", of, base, from, to, times, want)
					}
				}
			}
		}
	}
}

func TestColoured(t *testing.T) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	if !coloured(terminal) || coloured(w) || coloured(&strings.Builder{}) {
		t.Errorf("terminal %t, pipe %t", coloured(terminal), coloured(w))
	}
	t.Setenv("NO_COLOR", "1")
	if coloured(terminal) {
		t.Error("in spite of NO_COLOR")
	}
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "dumb")
	if coloured(terminal) {
		t.Error("on a dumb terminal")
	}
}

// Why a masqd is not ready is what /readyz says, or that it does not answer.
func TestNotReady(t *testing.T) {
	for answer, want := range map[string]string{
		"200 {\"ready\":true,\"reasons\":[\"a hint\"]}":   "",
		"503 {\"ready\":false,\"reasons\":[\"a\",\"b\"]}": "a; b",
		"503 garbage": "503 Service Unavailable",
		"404 ":        "404 Not Found",
	} {
		code, body, _ := strings.Cut(answer, " ")
		status := http.StatusOK
		if _, err := fmt.Sscan(code, &status); err != nil {
			t.Fatal(err)
		}
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}))
		at := s.Listener.Addr().String()
		if got, _ := notReady(at); got != want {
			t.Errorf("%q: %q", answer, got)
		}
		s.Close()
		if got, _ := notReady(at); !strings.HasPrefix(got, "it does not answer on "+at) {
			t.Errorf("closed: %q", got)
		}
	}
	if got, _ := notReady("garbage"); got != "" {
		t.Errorf("%q", got)
	}
}

// A directory of records that does not exist is said: the first ADD makes it, and one
// that is mistyped looks the same.
func TestInspectStateDirMissing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "typo")
	for words, exit := range map[string]int{"": 0, "pods": 0, "flows": 0, "rules": 0, "drift": 0, "ports --measure 0": 0, "pod x": 1} {
		code, out, diag := command(t, append([]string{"inspect", "--state-dir", dir}, strings.Fields(words)...)...)
		said := diag
		if words == "" {
			said, _, _ = strings.Cut(out, "\n")
		}
		if code != exit || !strings.Contains(said, dir) || strings.Count(said, "does not exist") != 1 {
			t.Errorf("inspect %s: %d\n%s%s", words, code, out, diag)
		}
	}
}
