package main

import (
	"fmt"
	"sort"
)

// authorities remembers which authorities a bundle had, and tells what changed.
type authorities struct {
	kind  string
	known map[string]bool
	// Every authority ever seen.
	seen map[string]bool
}

func newAuthorities(kind string) *authorities {
	return &authorities{kind: kind, known: map[string]bool{}, seen: map[string]bool{}}
}

// update prints one line for each authority that came or went.
func (a *authorities) update(names []string) {
	now := map[string]bool{}
	for _, name := range names {
		now[name] = true
	}
	for _, name := range sorted(now) {
		if !a.known[name] {
			a.seen[name] = true
			fmt.Printf("%s authority came %s\n", a.kind, name)
		}
	}
	for _, name := range sorted(a.known) {
		if !now[name] {
			fmt.Printf("%s authority went %s\n", a.kind, name)
		}
	}
	a.known = now
}

func sorted(set map[string]bool) []string {
	names := make([]string, 0, len(set))
	for name := range set {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}
