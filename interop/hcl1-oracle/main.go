// Command hcl1-oracle says what HashiCorp's own reader, in the version that SPIRE uses, makes of a text.
//
// Each line of standard input is a JSON object with a mode and a text; each gets one line of JSON back, in order. The modes:
// "parse" gives the tree with the place of each key and value, "decode" what the text is as a Sample, "expand" what
// os.Expand makes of it with the variables of the request, as SPIRE's -expandEnv calls it.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log"
	"os"
)

type request struct {
	Mode      string            `json:"mode"`
	Text      string            `json:"text"`
	Variables map[string]string `json:"variables"`
}

type answer struct {
	Error  string  `json:"error,omitempty"`
	Tree   *node   `json:"tree,omitempty"`
	Sample *sample `json:"sample,omitempty"`
	Text   string  `json:"text,omitempty"`
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	out := bufio.NewWriter(os.Stdout)
	answers := json.NewEncoder(out)
	for lines.Scan() {
		var asked request
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			log.Fatal(err)
		}
		if err := answers.Encode(answerTo(asked)); err != nil {
			log.Fatal(err)
		}
	}
	if err := lines.Err(); err != nil {
		log.Fatal(err)
	}
	if err := out.Flush(); err != nil {
		log.Fatal(err)
	}
}

func answerTo(asked request) (told answer) {
	// The reader panics on some texts, such as a number with a huge exponent.
	defer func() {
		if reason := recover(); reason != nil {
			told = answer{Error: fmt.Sprint("panic: ", reason)}
		}
	}()
	switch asked.Mode {
	case "parse":
		tree, err := parse(asked.Text)
		return answer{Error: text(err), Tree: tree}
	case "decode":
		decoded, err := decode(asked.Text)
		if err != nil {
			return answer{Error: err.Error()}
		}
		return answer{Sample: decoded}
	case "expand":
		return answer{Text: os.Expand(asked.Text, func(name string) string {
			if name == "$" {
				return "$"
			}
			return asked.Variables[name]
		})}
	default:
		log.Fatalf("no mode %q", asked.Mode)
		return answer{}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
