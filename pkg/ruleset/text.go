package ruleset

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// String returns the table as `nft list table inet masq` prints it. Only the order of a
// set's elements differs: the kernel keeps them by hash.
func (t Table) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table %s %s {\n", Family, cmp.Or(t.Name, Name))
	separator := ""
	if t.Name == HelperTableName {
		fmt.Fprint(&b, "\tflags owner\n")
		separator = "\n"
	}
	for _, o := range t.Objects {
		l3 := "inet"
		if o.IPv4Only {
			l3 = "ip"
		}
		fmt.Fprintf(&b, "%s\tct helper %s {\n\t\ttype %q protocol %s\n\t\tl3proto %s\n\t}\n", separator, o.Name, o.Kernel, o.Protocol, l3)
		separator = "\n"
	}
	for _, s := range t.Sets {
		b.WriteString(separator)
		s.write(&b)
		separator = "\n"
	}
	for _, c := range t.Chains {
		b.WriteString(separator)
		c.write(&b)
		separator = "\n"
	}
	b.WriteString("}\n")
	return b.String()
}

func (s Set) write(w *strings.Builder) {
	kind, typ := "set", "type "+s.Type
	switch {
	case s.Verdict:
		kind, typ = "map", typ+" : verdict"
	case s.Data != "":
		kind, typ = "map", typ+" : "+s.Data
	case s.MSS: // nft has no name for the type of an MSS
		kind, typ = "map", "typeof ip daddr : tcp option maxseg size"
		if s.Type == addressType[masq.IPv6] {
			typ = "typeof ip6 daddr : tcp option maxseg size"
		}
	}
	fmt.Fprintf(w, "\t%s %s {\n\t\t%s\n", kind, s.Name, typ)
	if s.Interval {
		fmt.Fprint(w, "\t\tflags interval\n")
	}
	if s.Timeout {
		fmt.Fprint(w, "\t\tflags timeout\n")
	}
	if s.Counter {
		fmt.Fprint(w, "\t\tcounter\n")
	}
	for i, e := range s.Elements {
		lead := "\t\telements = { "
		switch {
		case i > 0 && i%s.columns() != 0:
			lead = "" // nft puts several such elements on a line
		case i > 0:
			lead = "\t\t\t     "
		}
		end := ",\n"
		switch {
		case i == len(s.Elements)-1:
			end = " }\n"
		case (i+1)%s.columns() != 0:
			end = ", "
		}
		fmt.Fprint(w, lead, e.Text(s.Counter), end)
	}
	fmt.Fprint(w, "\t}\n")
}

// columns returns the number of elements that nft puts on a line.
func (s Set) columns() int {
	switch s.Type {
	case "ipv4_addr":
		return 2
	case "inet_service":
		return 5
	}
	return 1
}

// Text returns the element as nft prints it, with a zero counter if its set has counters.
func (e Element) Text(counter bool) string {
	out := e.Key
	if counter {
		out += " counter packets 0 bytes 0"
	}
	if e.Timeout != 0 {
		out += " timeout " + timeText(e.Timeout)
	}
	if e.Comment != "" {
		out += fmt.Sprintf(" comment %q", e.Comment)
	}
	if e.Goto != "" {
		out += " : goto " + e.Goto
	}
	if e.MSS != 0 {
		out += " : " + strconv.Itoa(int(e.MSS))
	}
	if e.Data != "" {
		out += " : " + e.Data
	}
	return out
}

// timeText returns a timeout as nft prints it, in units down to milliseconds: "3m", "1m30s".
func timeText(d time.Duration) string {
	var b strings.Builder
	for _, u := range []struct {
		name string
		size time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}} {
		if n := d / u.size; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, u.name)
			d -= n * u.size
		}
	}
	return b.String()
}

func (c Chain) write(w *strings.Builder) {
	fmt.Fprintf(w, "\tchain %s {\n", c.Name)
	if c.Hook != nil {
		fmt.Fprintf(w, "\t\ttype %s hook %s priority %s; policy accept;\n", c.Hook.Type, c.Hook.Point, c.Hook.Priority)
	}
	for _, r := range c.Rules {
		text := strings.Replace(r.Text, "counter ", "counter packets 0 bytes 0 ", 1)
		fmt.Fprintf(w, "\t\t%s comment %q\n", text, r.ID)
	}
	fmt.Fprint(w, "\t}\n")
}
