package ssh

import (
	"time"

	xssh "golang.org/x/crypto/ssh"
)

// keepAliveMisses is how many questions may stay without an answer.
const keepAliveMisses = 3

// connection is a login that lasts, watched by one goroutine until it has ended.
type connection struct {
	*xssh.Client
	address string
	ended   chan struct{} // closed when it has
	watched chan struct{} // closed when nothing watches it any more
}

func newConnection(client *xssh.Client, address string, every time.Duration) *connection {
	c := &connection{Client: client, address: address, ended: make(chan struct{}), watched: make(chan struct{})}
	go func() {
		_ = client.Wait()
		close(c.ended)
	}()
	go func() {
		defer close(c.watched)
		c.keepAlive(every)
	}()
	return c
}

// end closes the connection and waits until nothing of it is left.
func (c *connection) end() {
	_ = c.Close()
	<-c.ended
	<-c.watched
}

// keepAlive asks the machine whether it is there, and closes the connection when it has not
// said anything for too long: a machine that lost its power never hangs up.
func (c *connection) keepAlive(every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	var answered chan struct{} // nil: no question is open
	defer func() {
		_ = c.Close()
		if answered != nil {
			<-answered // as the end of the connection does
		}
	}()
	for missed := 0; missed < keepAliveMisses; {
		select {
		case <-c.ended:
			return
		case <-answered:
			answered, missed = nil, 0
		case <-ticker.C:
			if answered != nil {
				missed++
				continue
			}
			answered = c.ask()
		}
	}
}

// ask gives a channel that is closed at the answer. Servers refuse the request that they do not
// know, which is an answer, too.
func (c *connection) ask() chan struct{} {
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		_, _, _ = c.SendRequest("keepalive@openssh.com", true, nil)
	}()
	return answered
}

// alive reports whether the machine answers now. It takes until then, or until the connection
// has ended.
func (c *connection) alive() bool {
	_, _, err := c.SendRequest("keepalive@openssh.com", true, nil)
	return err == nil
}
