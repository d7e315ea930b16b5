package endpoint

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// maxWrite is the size of a part of an answer: a client that reads makes progress with
// each part.
const maxWrite = 16 << 10

// page is an answer that several requests may share.
type page struct {
	code        int
	contentType string
	body        []byte

	once    sync.Once
	gzipped []byte // set when the first client accepts gzip
}

// compressed returns the body compressed with gzip.
func (p *page) compressed() []byte {
	p.once.Do(func() {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write(p.body) // a bytes.Buffer returns no errors
		_ = z.Close()
		p.gzipped = b.Bytes()
	})
	return p.gzipped
}

// write answers a request with the page.
func (p *page) write(w http.ResponseWriter, r *http.Request) {
	c := connOf(r.Context())
	body := p.body
	h := w.Header()
	h.Set("Content-Type", p.contentType)
	if len(body) > maxWrite/4 && acceptsGzip(r) {
		body = p.compressed()
		h.Set("Content-Encoding", "gzip")
		h.Set("Vary", "Accept-Encoding")
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if c != nil && c.shouldClose() {
		h.Set("Connection", "close")
	}
	w.WriteHeader(p.code)
	for len(body) > 0 {
		n, err := w.Write(body[:min(len(body), maxWrite)])
		if err != nil {
			return
		}
		body = body[n:]
		if c != nil {
			c.advance(0)
		}
	}
}

// acceptsGzip reports whether a client accepts gzip. It reads the header as promhttp does.
func acceptsGzip(r *http.Request) bool {
	for part := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		if part = strings.TrimSpace(part); part == "gzip" || strings.HasPrefix(part, "gzip;") {
			return !strings.HasSuffix(part, "q=0")
		}
	}
	return false
}

// pages answers concurrent requests with the same page.
type pages struct{ *shared[*page] }

func newPages(render func() *page) *pages { return &pages{newShared(render)} }

// ServeHTTP implements http.Handler.
func (s *pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p, err := s.await(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	p.write(w, r)
}

// await returns the page. While it is rendered, the connection is not closed to make room.
func (s *pages) await(r *http.Request) (*page, error) {
	if c := connOf(r.Context()); c != nil {
		c.advance(1)
		defer c.advance(-1)
	}
	return s.get(r.Context())
}

// metricsPage renders all metrics in the text format, which every Prometheus can read.
func metricsPage(registry prometheus.Gatherer) *page {
	r, err := http.NewRequest(http.MethodGet, "/metrics", http.NoBody)
	if err != nil {
		return &page{code: http.StatusInternalServerError, contentType: "text/plain; charset=utf-8", body: []byte(err.Error())}
	}
	w := &bufferedResponse{header: http.Header{}, code: http.StatusOK}
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{DisableCompression: true}).ServeHTTP(w, r)
	return &page{code: w.code, contentType: w.header.Get("Content-Type"), body: w.body.Bytes()}
}

// bufferedResponse is an http.ResponseWriter that keeps the answer.
type bufferedResponse struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (m *bufferedResponse) Header() http.Header         { return m.header }
func (m *bufferedResponse) WriteHeader(code int)        { m.code = code }
func (m *bufferedResponse) Write(b []byte) (int, error) { return m.body.Write(b) }
