package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
)

const greeting = "hello"

// How long serve goes on at most.
const longestService = 5 * time.Minute

// shakeHands makes one connection over loopback and sends a greeting each way.
func shakeHands(ctx context.Context, server, client *tls.Config) error {
	listener, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		return err
	}
	defer listener.Close()
	served := make(chan error, 1)
	go func() {
		connection, err := listener.Accept()
		if err != nil {
			served <- err
			return
		}
		defer connection.Close()
		served <- echo(connection)
	}()
	dialer := tls.Dialer{Config: client}
	connection, err := dialer.DialContext(ctx, "tcp", listener.Addr().String())
	if err != nil {
		return errors.Join(err, <-served)
	}
	defer connection.Close()
	if err := greet(connection); err != nil {
		return errors.Join(err, <-served)
	}
	return <-served
}

// serve answers whoever is the expected ID. It never outlives a test for long.
func serve(ctx context.Context, peer string) error {
	id, err := spiffeid.FromString(peer)
	if err != nil {
		return err
	}
	source, err := newSource(ctx)
	if err != nil {
		return err
	}
	defer source.Close()
	mode := spiffetls.MTLSServerWithSource(tlsconfig.AuthorizeID(id), source)
	listener, err := spiffetls.ListenWithMode(ctx, "tcp", "127.0.0.1:0", mode)
	if err != nil {
		return err
	}
	fmt.Println("listening", listener.Addr())
	ctx, cancel := context.WithTimeout(ctx, longestService)
	defer cancel()
	context.AfterFunc(ctx, func() { listener.Close() })
	for {
		connection, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := echo(connection); err != nil {
			fmt.Println("refused:", err)
		} else {
			who, err := spiffetls.PeerIDFromConn(connection)
			fmt.Println("served", who, err)
		}
		connection.Close()
	}
}

func call(ctx context.Context, address, peer string) error {
	id, err := spiffeid.FromString(peer)
	if err != nil {
		return err
	}
	source, err := newSource(ctx)
	if err != nil {
		return err
	}
	defer source.Close()
	mode := spiffetls.MTLSClientWithSource(tlsconfig.AuthorizeID(id), source)
	connection, err := spiffetls.DialWithMode(ctx, "tcp", address, mode)
	if err != nil {
		return err
	}
	defer connection.Close()
	if err := greet(connection); err != nil {
		return err
	}
	fmt.Println("answered by", peer)
	return nil
}

func greet(connection net.Conn) error {
	if err := connection.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := io.WriteString(connection, greeting); err != nil {
		return err
	}
	answer := make([]byte, len(greeting))
	if _, err := io.ReadFull(connection, answer); err != nil {
		return err
	}
	if string(answer) != greeting {
		return fmt.Errorf("answered %q", answer)
	}
	return nil
}

func echo(connection net.Conn) error {
	if err := connection.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	greeted := make([]byte, len(greeting))
	if _, err := io.ReadFull(connection, greeted); err != nil {
		return err
	}
	_, err := connection.Write(greeted)
	return err
}
