package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"html"
	"image"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// probe is a page that shows each page of a report at each width, and measures: elements that
// are wider than the screen, text that leaves its picture, and text with little contrast
// (WCAG 2, 1.4.3: 4.5 to 1).
const probe = `<!DOCTYPE html><meta name="color-scheme" content="light dark"><pre id="result"></pre><script>
const out = [];
const rgb = s => (s.match(/[\d.]+/g) || []).map(Number);
const luminance = c => { const [r, g, b] = c.slice(0, 3).map(x => (x /= 255) <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
const contrast = (a, b) => { const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p); return (x + .05) / (y + .05); };
function background(w, e) {
	for (; e; e = e.parentElement) {
		const c = rgb(w.getComputedStyle(e).backgroundColor);
		if (c.length == 3 || c[3] == 1) return c;
	}
	return [255, 255, 255];
}
function measure(name, width, frame) {
	const w = frame.contentWindow, d = frame.contentDocument, faults = [];
	for (const e of d.querySelectorAll("details")) e.open = true;
	if (d.documentElement.scrollWidth > width) faults.push("scrolls to " + d.documentElement.scrollWidth);
	let shown = 0;
	for (const svg of d.querySelectorAll("svg")) {
		if (w.getComputedStyle(svg).display == "none") continue;
		shown++;
		const box = svg.viewBox.baseVal;
		for (const t of svg.querySelectorAll("text")) {
			const b = t.getBBox();
			if (b.x + b.width > box.width || b.y + b.height > box.height) faults.push("leaves the picture: " + t.textContent);
		}
	}
	if (d.querySelector("svg") && shown != 1) faults.push(shown + " pictures are shown");
	for (const e of d.querySelectorAll("body *")) {
		if (![...e.childNodes].some(n => n.nodeType == 3 && n.data.trim()) || e.matches("title, desc")) continue;
		const s = w.getComputedStyle(e);
		const c = contrast(rgb(e.matches("svg text") ? s.fill : s.color), background(w, e));
		if (c < 4.5) faults.push("contrast " + c.toFixed(1) + ": " + e.className + " " + e.textContent.slice(0, 40));
	}
	out.push({name, width, dark: luminance(background(w, d.body)) < .5, faults});
}
async function run() {
	for (const name of NAMES) for (const width of [320, 360, 820, 1280]) {
		const frame = document.createElement("iframe");
		frame.style = "border: 0; height: 600px; width: " + width + "px";
		frame.src = "/" + name;
		await new Promise(done => { frame.onload = done; document.body.append(frame); });
		measure(name, width, frame);
		frame.remove();
	}
	document.getElementById("result").textContent = JSON.stringify(out);
}
run();
</script>`

// browser runs Chromium without a window. It returns its standard output. A message on
// the console fails the test.
func browser(t *testing.T, args ...string) []byte {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("%v: run the tests by make test, which installs it", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute) // it takes seconds
	defer cancel()
	dir := t.TempDir()
	var stderr bytes.Buffer
	c := exec.CommandContext(ctx, path, slices.Concat([]string{
		"--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions", "--disable-background-networking", "--no-first-run",
		"--hide-scrollbars", "--enable-logging=stderr", "--user-data-dir=" + dir,
	}, args)...)
	c.Env = append(os.Environ(), "HOME="+dir)
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", c, err, &stderr)
	}
	if bytes.Contains(stderr.Bytes(), []byte("CONSOLE")) {
		t.Errorf("the console has messages:\n%s", &stderr)
	}
	return out
}

// scheme selects the color scheme that pages see (Blink's PreferredColorScheme).
func scheme(dark bool) string {
	if dark {
		return "--blink-settings=preferredColorScheme=0"
	}
	return "--blink-settings=preferredColorScheme=1"
}

// TestBrowser opens the pages in Chromium, at four widths and in both color schemes. With
// MASQ_SCREENSHOTS=DIR it keeps the screenshots there.
func TestBrowser(t *testing.T) {
	var names []string
	for name := range reports() {
		names = append(names, name)
	}
	slices.Sort(names)
	pages := map[string][]byte{}
	for _, name := range names {
		pages[name] = pageOf(t, name)
	}
	quoted, err := json.Marshal(names)
	if err != nil {
		t.Fatal(err)
	}
	var (
		mutex sync.Mutex
		other []string // requests for anything else
	)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		switch name := strings.TrimPrefix(r.URL.Path, "/"); {
		case name == "probe":
			_, _ = w.Write([]byte(strings.Replace(probe, "NAMES", string(quoted), 1)))
		case slices.Contains(names, name):
			_, _ = w.Write(pages[name])
		case name == "phone": // a window of Chromium is never as narrow as a phone
			_, _ = fmt.Fprintf(w, `<!DOCTYPE html><meta name="color-scheme" content="light dark"><body style="margin: 0"><iframe style="border: 0; width: 360px; height: 1600px" src="/%s"></iframe>`, r.FormValue("page"))
		case name == "favicon.ico":
		default:
			mutex.Lock()
			other = append(other, r.URL.String())
			mutex.Unlock()
		}
	}))
	defer server.Close()

	for _, dark := range []bool{false, true} {
		dom := browser(t, scheme(dark), "--window-size=1400,900", "--virtual-time-budget=60000", "--dump-dom", server.URL+"/probe")
		m := regexp.MustCompile(`(?s)<pre id="result">(.*?)</pre>`).FindSubmatch(dom)
		var measured []struct {
			Name   string
			Width  int
			Dark   bool
			Faults []string
		}
		if m == nil {
			t.Fatalf("no result:\n%s", dom)
		}
		if err := json.Unmarshal([]byte(html.UnescapeString(string(m[1]))), &measured); err != nil {
			t.Fatalf("%v:\n%s", err, dom)
		}
		if len(measured) != 4*len(names) {
			t.Errorf("%d measurements, want %d", len(measured), 4*len(names))
		}
		for _, x := range measured {
			if x.Dark != dark {
				t.Errorf("%s: dark is %v, want %v", x.Name, x.Dark, dark)
			}
			if len(x.Faults) > 0 {
				t.Errorf("%s, %d pixels, dark %v:\n%s", x.Name, x.Width, dark, strings.Join(x.Faults, "\n"))
			}
		}
	}
	if len(other) > 0 {
		t.Errorf("the pages requested %v", other)
	}
	dir := os.Getenv("MASQ_SCREENSHOTS")
	if dir == "" {
		dir = t.TempDir()
	}
	var brightness [2]float64
	for i, shot := range []struct {
		name  string
		width int
		dark  bool
	}{{"narrow", 1280, false}, {"narrow", 360, true}, {"lost", 1280, true}, {"lost", 360, false}, {"many", 1280, false}, {"hostile", 360, false}, {"hostile", 1280, true}, {"fixed", 1280, false}, {"not-checked", 360, true}} {
		if i > 1 && os.Getenv("MASQ_SCREENSHOTS") == "" {
			break
		}
		path := filepath.Join(dir, fmt.Sprintf("%s-%d-dark-%v.png", shot.name, shot.width, shot.dark))
		url := server.URL + "/" + shot.name
		if shot.width < 500 {
			url = server.URL + "/phone?page=" + shot.name
		}
		browser(t, scheme(shot.dark), fmt.Sprintf("--window-size=%d,1600", max(shot.width, 500)), "--screenshot="+path, url)
		if i < 2 {
			brightness[i] = brightnessOf(t, path)
		}
	}
	if brightness[0] < 0.6 || brightness[1] > 0.4 {
		t.Errorf("brightness of the light and the dark page: %.2f", brightness)
	}
}

// brightnessOf returns the mean brightness of a screenshot, from 0 to 1.
func brightnessOf(t *testing.T, path string) float64 {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	picture, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	var sum, n float64
	b := picture.Bounds()
	for y := b.Min.Y; y < b.Max.Y; y += 4 {
		for x := b.Min.X; x < b.Max.X; x += 4 {
			r, g, bl, _ := picture.At(x, y).RGBA()
			sum += float64(r+g+bl) / (3 * 0xffff)
			n++
		}
	}
	if colors(picture) < 5 {
		t.Errorf("%s is blank", path)
	}
	return sum / n
}

// colors counts some of the colors of a picture.
func colors(p image.Image) int {
	seen := map[[3]uint32]bool{}
	for y := p.Bounds().Min.Y; y < p.Bounds().Max.Y && len(seen) < 5; y++ {
		for x := p.Bounds().Min.X; x < p.Bounds().Max.X; x++ {
			r, g, b, _ := p.At(x, y).RGBA()
			seen[[3]uint32{r, g, b}] = true
		}
	}
	return len(seen)
}
