package report

// Style selects colors and columns of text output.
type Style struct {
	// Color is true for a terminal that shows colors.
	Color bool
	// Wide adds columns.
	Wide bool
}

// SGR is a parameter of the terminal's control function SELECT GRAPHIC RENDITION
// (ECMA-48).
type SGR string

// The renditions that masq-cni uses.
const (
	Bold         SGR = "1"
	Dim          SGR = "2"
	BoldReversed SGR = "1;7"
	Red          SGR = "31"
	Green        SGR = "32"
)

// Paint returns text in a rendition. Without color it returns text unchanged.
func (s Style) Paint(code SGR, text string) string {
	if !s.Color || text == "" {
		return text
	}
	return "\x1b[" + string(code) + "m" + text + "\x1b[0m"
}
