package native

// decimal is a decimal number of any length: blanks, a minus sign, digits, a
// point and digits, as far as text has them; anything else is 0.
type decimal struct {
	negative bool
	whole    []byte // digits, without zeros at the beginning
	fraction []byte // digits, without zeros at the end
}

func parseDecimal(b []byte) decimal {
	var d decimal
	b = b[skipBlanks(b, 0):]
	if len(b) > 0 && b[0] == '-' {
		d.negative, b = true, b[1:]
	}
	n := countDigits(b)
	d.whole = b[:n]
	for len(d.whole) > 0 && d.whole[0] == '0' {
		d.whole = d.whole[1:]
	}
	if n < len(b) && b[n] == '.' {
		d.fraction = b[n+1:][:countDigits(b[n+1:])]
	}
	for len(d.fraction) > 0 && d.fraction[len(d.fraction)-1] == '0' {
		d.fraction = d.fraction[:len(d.fraction)-1]
	}
	return d
}

func countDigits(b []byte) int {
	n := 0
	for n < len(b) && '0' <= b[n] && b[n] <= '9' {
		n++
	}
	return n
}

// isDecimal reports whether text is a decimal number and nothing else.
func isDecimal(b []byte) bool {
	if len(b) > 0 && b[0] == '-' {
		b = b[1:]
	}
	n := countDigits(b)
	digits := n
	if n < len(b) && b[n] == '.' {
		m := countDigits(b[n+1:])
		digits, n = digits+m, n+1+m
	}
	return digits > 0 && n == len(b)
}

// The first byte of an encoded number.
const (
	belowZero = 2
	zero      = 3
	aboveZero = 4
)

// Lengths of the whole part up to shortNumber are one byte.
const (
	shortNumber = 200
	lengthBase  = 0x20
)

// appendNumber appends bytes that sort as the number in text does. No LF is among them.
func appendNumber(dst, text []byte) []byte {
	d := parseDecimal(text)
	return d.encode(dst)
}

// appendNumberDown appends bytes that sort the other way round.
func appendNumberDown(dst, text []byte) []byte {
	d := parseDecimal(text)
	d.negative = !d.negative
	return d.encode(dst)
}

func (d *decimal) encode(dst []byte) []byte {
	if len(d.whole)+len(d.fraction) == 0 {
		return append(dst, zero)
	}
	if !d.negative {
		return d.append(append(dst, aboveZero))
	}
	dst = append(dst, belowZero)
	from := len(dst)
	dst = d.append(dst)
	for i := from; i < len(dst); i++ {
		dst[i] = 255 - dst[i]
	}
	return dst
}

// append appends how many digits the whole part has, the digits, and 0. Neither a
// byte nor 255 less a byte is LF.
func (d *decimal) append(dst []byte) []byte {
	n := len(d.whole)
	dst = append(dst, lengthBase+byte(min(n, shortNumber)))
	if n >= shortNumber {
		for shift := 24; shift >= 0; shift -= 6 {
			dst = append(dst, 0x40|byte(n>>shift)&0x3f)
		}
	}
	dst = append(dst, d.whole...)
	dst = append(dst, d.fraction...)
	return append(dst, 0)
}
