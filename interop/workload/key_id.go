package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
)

// keyID reads `kid` from the header of a token, which go-spiffe keeps to itself.
func keyID(token string) (string, error) {
	header, _, _ := strings.Cut(token, ".")
	document, err := base64.RawURLEncoding.DecodeString(header)
	if err != nil {
		return "", fmt.Errorf("the token's header: %w", err)
	}
	var fields struct {
		KeyID string `json:"kid"`
	}
	if err := json.Unmarshal(document, &fields); err != nil {
		return "", fmt.Errorf("the token's header: %w", err)
	}
	return fields.KeyID, nil
}
