// The grpc-go caller of the benchmark: the same jobs as the Rust caller, by the
// client library with which SPIRE's figures were taken.
//
// Usage: caller JOB SOCKET [NUMBER]. tests/benches/workload_api/caller.rs says
// what the jobs are and which lines they print. Any surprise ends it with code 1
// and a message on standard error.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

const (
	audience = "https://mcp.example.org/"
	// Calls that are made before those that count.
	warmUp = 200
	// Connections that are opened at the same time.
	opening = 16
	// Connections of the job "load", and how long it calls.
	loadConnections = 64
	loadTime        = 5 * time.Second
)

var ctx = metadata.AppendToOutgoingContext(context.Background(), "workload.spiffe.io", "true")

type connection struct {
	conn *grpc.ClientConn
	api  workload.SpiffeWorkloadAPIClient
}

func connect(socket string) (connection, error) {
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return connection{}, err
	}
	return connection{conn: conn, api: workload.NewSpiffeWorkloadAPIClient(conn)}, nil
}

// fetchX509 opens a stream and takes its first answer.
func (c connection) fetchX509(ctx context.Context) error {
	stream, err := c.api.FetchX509SVID(ctx, &workload.X509SVIDRequest{})
	if err != nil {
		return err
	}
	_, err = stream.Recv()
	return err
}

func (c connection) fetchJWT() (string, error) {
	answer, err := c.api.FetchJWTSVID(ctx, &workload.JWTSVIDRequest{Audience: []string{audience}})
	if err != nil {
		return "", err
	}
	return answer.Svids[0].Svid, nil
}

func (c connection) validate(token string) error {
	_, err := c.api.ValidateJWTSVID(ctx, &workload.ValidateJWTSVIDRequest{Audience: audience, Svid: token})
	return err
}

func main() {
	number := 1
	var err error
	if len(os.Args) > 3 {
		number, err = strconv.Atoi(os.Args[3])
	}
	if err == nil {
		err = run(os.Args[1], os.Args[2], number)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(job, socket string, number int) error {
	switch job {
	case "first":
		return measure(0, 1, func() error { return freshConnection(socket) })
	case "fresh":
		return measure(warmUp, number, func() error { return freshConnection(socket) })
	case "kept", "jwt", "validate":
		return kept(job, socket, number)
	case "load":
		return load(socket)
	case "hold":
		return hold(socket, number)
	}
	return fmt.Errorf("no such job: %s", job)
}

// measure prints how long each call takes, in nanoseconds.
func measure(warmUp, number int, call func() error) error {
	for range warmUp {
		if err := call(); err != nil {
			return err
		}
	}
	for range number {
		begun := time.Now()
		if err := call(); err != nil {
			return err
		}
		fmt.Println(time.Since(begun).Nanoseconds())
	}
	return nil
}

func freshConnection(socket string) error {
	c, err := connect(socket)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	return c.fetchX509(ctx)
}

func kept(job, socket string, number int) error {
	c, err := connect(socket)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	token, err := c.fetchJWT()
	if err != nil {
		return err
	}
	if job == "validate" {
		return measure(warmUp, number, func() error { return c.validate(token) })
	}
	return measure(warmUp, number, func() error { _, err := c.fetchJWT(); return err })
}

// load prints how many JWT-SVIDs came in a second.
func load(socket string) error {
	var group sync.WaitGroup
	counts := make([]int, loadConnections)
	failures := make([]error, loadConnections)
	begun := time.Now()
	for i := range loadConnections {
		c, err := connect(socket)
		if err != nil {
			return err
		}
		group.Add(1)
		go func() {
			defer group.Done()
			for time.Since(begun) < loadTime && failures[i] == nil {
				_, failures[i] = c.fetchJWT()
				counts[i]++
			}
		}()
	}
	group.Wait()
	total := 0
	for i, err := range failures {
		if err != nil {
			return err
		}
		total += counts[i]
	}
	fmt.Println(int(float64(total) / time.Since(begun).Seconds()))
	return nil
}

// hold opens streams, prints how long that took, and keeps them until it is
// ended.
func hold(socket string, number int) error {
	var group sync.WaitGroup
	failures := make(chan error, number)
	turns := make(chan struct{}, opening)
	begun := time.Now()
	for range number {
		turns <- struct{}{}
		group.Add(1)
		go func() {
			defer group.Done()
			defer func() { <-turns }()
			c, err := connect(socket)
			if err == nil {
				err = c.fetchX509(ctx)
			}
			if err != nil {
				failures <- err
			}
		}()
	}
	group.Wait()
	select {
	case err := <-failures:
		return err
	default:
	}
	fmt.Println(time.Since(begun).Nanoseconds())
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	<-ended
	return nil
}
