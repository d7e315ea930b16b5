// Package endpoint is the HTTP server of masqd: metrics, health and readiness on TCP
// addresses and Unix sockets.
//
// Everybody who reaches an address can open connections and request answers, a container
// or an unprivileged user of the node among them. So whatever they do takes a bounded
// amount of memory, descriptors and processor time:
//
//   - Each address has at most MaxConnections connections, fewer if the process may open
//     few files: see Connections. A new connection takes the place of an idle one.
//   - Reading a request, writing an answer, and the time between two requests are limited.
//   - Concurrent requests of /metrics share one answer, and so do those of /readyz. Answers
//     take a tenth of a core.
//
// What a client does not read costs the length of the answer, at most once for each
// connection.
//
// TLS and passwords follow the web configuration of Prometheus exporters, which
// exporter-toolkit reads for each connection and each request:
// https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md
//
// To debug: `ss -tnp sport = :9468` and `ss -xp src /run/masq-cni/masqd.sock` list the
// connections; masqd --log-level debug logs failed handshakes.
package endpoint
