package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/textproto"
	"sync"
	"time"

	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

const (
	// helperRounds times controlConnections is less than the number of connections after which
	// masqd limits their rate.
	helperRounds       = 15
	controlConnections = 40 // of a container in a round, one after another
	callsDuring        = 5  // of ADD in a round, with other connections and without

	sessions        = 1000
	sessionsPerPod  = 200 // below the limit of an attachment
	controlInterval = 100 * time.Millisecond
)

// rtspAt is the address of the RTSP server.
var rtspAt = netip.AddrPortFrom(far4, 554)

// helpers measures control connections of RTSP by masqd and without a helper.
func (b *bench) helpers(ctx context.Context) (section, error) {
	s := section{
		title: "A helper of masqd: control connections of RTSP",
		note: fmt.Sprintf("A node with masqd; the server is outside. Two containers, with the helper and without it, take turns: "+
			"in %d rounds each opens %d connections, one after another, and sends a request on each; the time is from before connect to the answer. "+
			"Added is the difference of the medians of a round. "+
			"ADD of one more container, %d times in each round, while a container opens a connection every %s, and while none does. "+
			"The memory is the growth of masqd's VmRSS while %d control connections with a stream each are opened.",
			helperRounds, controlConnections, callsDuring, controlInterval, sessions),
	}
	return s.of(ctx, b.control)
}

func (b *bench) control(ctx context.Context) (rows []row, err error) {
	n, err := b.site.node("helpers")
	if err != nil {
		return nil, err
	}
	d, err := b.masqd(ctx, n)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.end()) }()
	pods, err := b.site.pods(2 + sessions/sessionsPerPod)
	if err != nil {
		return nil, err
	}
	with := b.network(n, "masq", single, keys{"helpers": keys{"rtsp": []uint16{rtspAt.Port()}}})
	without := b.network(n, "masq", []string{"10.89.0.0/16"}, keys{"name": "plain"})
	direct, more := without.attachment(pods[0]), without.attachment(pods[1])
	helped := with.attachments(pods[2:])
	all := append([]*attachment{direct}, helped...)
	if err := inTurn(ctx, all, "ADD"); err != nil {
		return nil, err
	}
	server, err := n.far.Listen(rtspAt)
	if err != nil {
		return nil, err
	}
	go accept(server)
	defer func() {
		err = errors.Join(err, server.Close(), inTurn(ctx, all, "DEL"))
		b.site.giveBack(pods)
	}()
	if err := d.until(ctx, "redirecting", func() (bool, error) { return n.redirects(len(helped)) }); err != nil {
		return nil, err
	}

	took := map[*attachment]sample{}
	var added, idle, during sample
	for round := range helperRounds {
		b.progress("control connections, round %d of %d", round, helperRounds)
		medians := map[*attachment]float64{}
		for i := range 2 {
			a := []*attachment{direct, helped[0]}[(round+i)%2]
			values, err := a.connections(ctx, controlConnections)
			if err != nil {
				return nil, err
			}
			took[a] = append(took[a], values...)
			medians[a] = values.median()
		}
		added = append(added, medians[helped[0]]-medians[direct])
		for i := range 2 {
			if (round+i)%2 == 0 {
				if idle, err = more.calls(ctx, idle); err != nil {
					return nil, err
				}
				continue
			}
			end := helped[1].connectOften(ctx)
			during, err = more.calls(ctx, during)
			if err = errors.Join(err, end()); err != nil {
				return nil, err
			}
		}
	}
	grown, err := d.sessions(ctx, helped)
	if err != nil {
		return nil, err
	}
	return []row{
		{what: "connection and request, without a helper", show: millis, values: took[direct]},
		{what: "connection and request, by masqd", show: millis, values: took[helped[0]]},
		{what: "added", show: millis, values: added, target: target{1, atMost, median}},
		{what: "ADD, no control connections", show: millis, values: idle},
		{
			what: "ADD, 10 control connections a second", show: millis, values: during,
			against: "itself without them", ratio: ofMedians(during, idle),
		},
		{what: fmt.Sprintf("memory of %d sessions", sessions), show: megabytes, values: sample{grown}, target: target{30, atMost, median}},
	}, nil
}

// redirects reports whether masqd redirects the connections of this number of attachments.
func (n *node) redirects(attachments int) (yes bool, err error) {
	err = n.Do(func() error {
		c, err := nft.Open()
		if err != nil {
			return err
		}
		all, err := c.HelperElements(ruleset.RedirectMap)
		yes = len(all) >= attachments
		return errors.Join(err, c.Close())
	})
	return yes, err
}

// accept accepts connections until the listener is closed.
func accept(l *net.TCPListener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = c.Close() }()
			_ = answer(c)
		}()
	}
}

// answer answers the requests of a connection.
func answer(c net.Conn) error {
	r := textproto.NewReader(bufio.NewReaderSize(c, 512))
	for {
		if _, err := r.ReadLine(); err != nil {
			return err
		}
		header, err := r.ReadMIMEHeader()
		if err != nil {
			return err
		}
		text := "RTSP/1.0 200 OK\r\nCSeq: " + header.Get("CSeq") + "\r\n"
		if transport := header.Get("Transport"); transport != "" {
			text += "Session: 1\r\nTransport: " + transport + ";server_port=6000-6001\r\n"
		}
		if _, err := io.WriteString(c, text+"\r\n"); err != nil {
			return err
		}
	}
}

// connect opens a connection, sends a request and reads the answer.
func (a *attachment) connect(ctx context.Context, request string) (net.Conn, error) {
	c, err := a.pod.Dial(ctx, "tcp", netip.AddrPort{}, rtspAt)
	if err != nil {
		return nil, err
	}
	if _, err = io.WriteString(c, request+"CSeq: 1\r\n\r\n"); err == nil {
		var line string
		if line, err = textproto.NewReader(bufio.NewReaderSize(c, 512)).ReadLine(); err == nil && line != "RTSP/1.0 200 OK" {
			err = errors.New(line)
		}
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// connections returns the milliseconds that each of some connections takes.
func (a *attachment) connections(ctx context.Context, count int) (out sample, err error) {
	for range count {
		start := time.Now()
		c, err := a.connect(ctx, "OPTIONS rtsp://server/ RTSP/1.0\r\n")
		if err != nil {
			return nil, err
		}
		out = append(out, inMillis(time.Since(start)))
		if err := c.Close(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// connectOften opens connections at an interval, until end is called.
func (a *attachment) connectOften(ctx context.Context) (end func() error) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		tick := time.NewTicker(controlInterval)
		defer tick.Stop()
		for {
			_, err := a.connections(context.WithoutCancel(ctx), 1)
			if err != nil {
				done <- err
				return
			}
			select {
			case <-ctx.Done():
				done <- nil
				return
			case <-tick.C:
			}
		}
	}()
	return func() error { cancel(); return <-done }
}

// calls adds the times of some ADDs.
func (a *attachment) calls(ctx context.Context, to sample) (sample, error) {
	for range callsDuring {
		add, err := a.timed(ctx, "ADD")
		if err != nil {
			return nil, err
		}
		if _, err := a.timed(ctx, "DEL"); err != nil {
			return nil, err
		}
		to = append(to, add)
	}
	return to, nil
}

// sessions opens control connections with a stream each, and returns by how many MB masqd has
// grown when all are open.
func (d *masqd) sessions(ctx context.Context, pods []*attachment) (grown float64, err error) {
	before, err := d.resident()
	if err != nil {
		return 0, err
	}
	var mu sync.Mutex
	var open []net.Conn
	var failed error
	var opening sync.WaitGroup
	for _, a := range pods {
		opening.Go(func() {
			for i := range sessionsPerPod {
				port := 5000 + 2*i
				c, err := a.connect(ctx, fmt.Sprintf("SETUP rtsp://server/ RTSP/1.0\r\nTransport: RTP/AVP;unicast;client_port=%d-%d\r\n", port, port+1))
				mu.Lock()
				if err != nil {
					failed = errors.Join(failed, err)
					mu.Unlock()
					return
				}
				open = append(open, c)
				mu.Unlock()
			}
		})
	}
	opening.Wait()
	after, err := d.resident()
	err = errors.Join(err, failed)
	for _, c := range open {
		err = errors.Join(err, c.Close())
	}
	return after - before, err
}
