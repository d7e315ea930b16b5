// Package endpoint is the HTTP server of masqd: metrics, health and readiness on TCP
// addresses and Unix sockets.
//
// Any client that reaches an address can open connections and send requests, including a
// container and an unprivileged user of the node. The memory, the descriptors and the
// processor time that clients take are therefore bounded:
//
//   - Each address has at most MaxConnections connections, fewer if the process may open
//     few files: see Connections. At the limit, an idle connection is closed for a new one.
//   - A client has limited time for a request, for an answer, and between two requests.
//   - Concurrent requests for /metrics share one answer, as do requests for /readyz.
//     Rendering answers takes at most a tenth of a core.
//
// A client that does not read keeps one answer in memory.
//
// TLS and passwords follow the web configuration of Prometheus exporters, which
// exporter-toolkit reads for each connection and each request:
// https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md
//
// To debug: `ss -tnp sport = :9468` and `ss -xp src /run/masq-cni/masqd.sock` list the
// connections; masqd --log-level debug logs failed handshakes.
package endpoint
