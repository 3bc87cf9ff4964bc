package main

import (
	"fmt"

	"github.com/hashicorp/hcl/hcl/ast"
	"github.com/hashicorp/hcl/hcl/parser"
	"github.com/hashicorp/hcl/hcl/token"
)

// A node is a block, a list, a text or another value, in the form in which the test writes its own.
type node struct {
	At      string  `json:"at"`
	Items   *[]item `json:"items,omitempty"`
	List    *[]node `json:"list,omitempty"`
	Text    *string `json:"text,omitempty"`
	Literal *string `json:"literal,omitempty"`
}

type item struct {
	Key   string `json:"key"`
	At    string `json:"at"`
	Value node   `json:"value"`
}

// parse gives the tree of a text; labels are levels.
func parse(text string) (*node, error) {
	file, err := parser.ParseDontErrorOnDuplicateKeys([]byte(text))
	if err != nil {
		return nil, err
	}
	tree := convert(file.Node)
	return &tree, nil
}

func convert(from ast.Node) node {
	switch from := from.(type) {
	case *ast.ObjectList:
		// The root; it has no place of its own.
		return node{At: "1:1", Items: items(from)}
	case *ast.ObjectType:
		return node{At: place(from.Pos()), Items: items(from.List)}
	case *ast.ListType:
		list := make([]node, 0, len(from.List))
		for _, element := range from.List {
			list = append(list, convert(element))
		}
		return node{At: place(from.Pos()), List: &list}
	case *ast.LiteralType:
		switch from.Token.Type {
		case token.STRING, token.HEREDOC:
			text := from.Token.Value().(string)
			return node{At: place(from.Pos()), Text: &text}
		default:
			return node{At: place(from.Pos()), Literal: &from.Token.Text}
		}
	default:
		panic(fmt.Sprintf("a node of type %T", from))
	}
}

func items(list *ast.ObjectList) *[]item {
	converted := make([]item, 0, len(list.Items))
	for _, from := range list.Items {
		value := convert(from.Val)
		for depth := len(from.Keys) - 1; depth > 0; depth-- {
			at := place(from.Keys[depth].Pos())
			value = node{At: at, Items: &[]item{{Key: from.Keys[depth].Token.Value().(string), At: at, Value: value}}}
		}
		first := from.Keys[0]
		converted = append(converted, item{Key: first.Token.Value().(string), At: place(first.Pos()), Value: value})
	}
	return &converted
}

func place(position token.Pos) string {
	return fmt.Sprintf("%d:%d", position.Line, position.Column)
}
