package main

import (
	"sort"

	"github.com/hashicorp/hcl"
	"github.com/hashicorp/hcl/hcl/token"
)

// A sample has a field of each kind that SPIRE's configuration has.
type sample struct {
	Text    string             `hcl:"text" json:"text"`
	Number  int                `hcl:"number" json:"number"`
	Switch  bool               `hcl:"switch" json:"switch"`
	Maybe   *bool              `hcl:"maybe" json:"maybe"`
	Names   []string           `hcl:"names" json:"names"`
	Block   *inner             `hcl:"block" json:"block"`
	Many    []inner            `hcl:"many" json:"many"`
	Named   map[string]inner   `hcl:"named" json:"named"`
	Words   map[string]string  `hcl:"words" json:"words"`
	Deep    map[string]*holder `hcl:"deep" json:"deep"`
	Unknown []string           `json:"unknown"`

	UnusedKeyPositions map[string][]token.Pos `hcl:",unusedKeyPositions" json:"-"`
}

type inner struct {
	Label string `hcl:"label" json:"label"`
	Size  int    `hcl:"size" json:"size"`
}

type holder struct {
	Profile *inner `hcl:"profile" json:"profile"`
}

func decode(text string) (*sample, error) {
	decoded := new(sample)
	if err := hcl.Decode(&decoded, text); err != nil {
		return nil, err
	}
	decoded.Unknown = []string{}
	for key := range decoded.UnusedKeyPositions {
		decoded.Unknown = append(decoded.Unknown, key)
	}
	sort.Strings(decoded.Unknown)
	return decoded, nil
}
