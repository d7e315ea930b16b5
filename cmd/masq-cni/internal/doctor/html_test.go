package doctor

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/test/golden"
)

// pageOf returns the page of a report.
func pageOf(t *testing.T, name string) []byte {
	t.Helper()
	r := reports()[name]
	var b bytes.Buffer
	if err := writeHTML(&b, &r, "1.2.3"); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var (
	styles   = regexp.MustCompile(`(?s)<style>.*?</style>`)
	pictures = regexp.MustCompile(`(?s)<svg .*?</svg>`)
	// outside matches what a browser would load or run.
	outside = regexp.MustCompile(`(?i)<(script|img|link|iframe|object|embed|base|form)\b|<[^<>]*\s(src|href|on\w+|srcset|action)=|url\(|@import`)
)

// TestHTML compares pages with golden files, without the style sheet. Names from outside make
// no element, no attribute and no control character, and the page loads nothing.
func TestHTML(t *testing.T) {
	for name := range reports() {
		page := pageOf(t, name)
		golden.Compare(t, filepath.Join("testdata", "page-"+name+".html"), styles.ReplaceAll(page, nil))
		if m := outside.Find(page); m != nil {
			t.Errorf("%s: %s", name, m)
		}
		if i := bytes.IndexFunc(page, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' || r == '\u202e' }); i >= 0 {
			t.Errorf("%s: a control character: %q", name, page[i:min(i+20, len(page))])
		}
		if bytes.Contains(page, []byte("ZgotmplZ")) {
			t.Errorf("%s: html/template refused a value", name)
		}
		for _, svg := range pictures.FindAll(page, -1) {
			d := xml.NewDecoder(bytes.NewReader(svg))
			for {
				_, err := d.Token()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatalf("%s: %v\n%s", name, err, svg)
				}
			}
			for _, want := range []string{`role="img"`, "<title ", "<desc "} {
				if !strings.Contains(string(svg), want) {
					t.Errorf("%s: no %s in the picture", name, want)
				}
			}
		}
	}
}
