"""Phrasings of the Geometry templates."""

from __future__ import annotations

from src.problems.worded.phrasing import Phrasings

SIMILAR = Phrasings(
    trained=(
        "The {given} of two similar {shapes} are in the ratio ${a}:{b}$. In what ratio are their {asked}?",
        "For two similar {shapes}, the ratio of the {given} is ${a}:{b}$. Find the ratio of the {asked}.",
        "A model and its original are similar {shapes}, and their {given} are in the ratio ${a}:{b}$. "
        "Determine the ratio of their {asked}.",
        "Two {shapes} have the same form but different sizes. The ratio of their {given} is ${a}:{b}$. What "
        "is the ratio of their {asked}? Answer with a fraction.",
        "Given that two similar {shapes} have {given} in the ratio ${a}:{b}$, write the ratio of their "
        "{asked} as a fraction, in the same order.",
        "The colors of two similar {shapes} differ, and so do their sizes: the {given} are in the ratio "
        "${a}:{b}$. What is the ratio of the {asked}?",
    ),
    unseen=(
        "In what ratio are the {asked} of two similar {shapes} if the ratio of their {given} is ${a}:{b}$?",
        "One of two similar {shapes} is a scaled copy of the other, with {given} in the ratio ${a}:{b}$. "
        "Express the ratio of the {asked} as a fraction, in the same order.",
    ),
)
CROSSING = Phrasings(
    trained=(
        "Inside a circle, the chords $AC$ and $BD$ intersect at $P$. The arcs $AB$ and $CD$ measure ${p}$ "
        "and ${q}$ degrees. How many degrees does angle $APB$ have?",
        "Angle $APB$ is formed by two chords $AC$ and $BD$ of a circle that intersect at $P$. Determine it "
        "in degrees if arc $AB$ has ${p}$ and arc $CD$ has ${q}$ degrees.",
        "Two chords of a circle intersect at a point inside. One of the angles there faces an arc of ${p}$ "
        "degrees, and the vertical angle opposite it faces an arc of ${q}$ degrees. How large is this "
        "angle, in degrees?",
        "The chords $AC$ and $BD$ of a circle cross at $P$, which need not be the center. If arc $AB$ has "
        "${p}$ degrees and arc $CD$ has ${q}$ degrees, what is angle $APB$ in degrees?",
        "On a round table, two straight strings $AC$ and $BD$ run from edge to edge and cross at $P$. The "
        "edge from $A$ to $B$ spans ${p}$ degrees, the edge from $C$ to $D$ spans ${q}$ degrees. Compute "
        "angle $APB$ in degrees.",
        "Suppose arc $AB$ of a circle measures ${p}$ degrees and arc $CD$ measures ${q}$ degrees, where the "
        "chords $AC$ and $BD$ meet at $P$ inside the circle. Give angle $APB$ in degrees.",
    ),
    unseen=(
        "What is the measure in degrees of angle $APB$ if $P$ is the intersection of the chords $AC$ and "
        "$BD$ of a circle on which arc $AB$ has ${p}$ and arc $CD$ has ${q}$ degrees?",
        "A circle carries the points $A$, $B$, $C$, $D$ in this order. Arc $AB$ has ${p}$ degrees, and arc "
        "$CD$ has ${q}$. The segments $AC$ and $BD$ cross at $P$. Find the size of angle $APB$ in degrees.",
    ),
)
INSCRIBED = Phrasings(
    trained=(
        "The points $A$, $B$, $C$, $D$ lie on a circle in this order. Arc $AB$ measures ${p}$ degrees and "
        "arc $BC$ measures ${q}$ degrees. How many degrees does angle $ADC$ have?",
        "Quadrilateral $ABCD$ is inscribed in a circle, with arc $AB$ equal to ${p}$ and arc $BC$ equal to "
        "${q}$ degrees. Determine angle $ADC$ in degrees.",
        "From a point $D$ on a circle, the arcs $AB$ of ${p}$ degrees and $BC$ of ${q}$ degrees are seen "
        "side by side, and neither contains $D$. Compute angle $ADC$ in degrees.",
        "In a circle, the neighboring arcs $AB$ and $BC$ have ${p}$ and ${q}$ degrees, and $D$ lies on the "
        "rest of the circle. What is angle $ADC$ in degrees?",
        "Find the inscribed angle $ADC$ in degrees if the arc from $A$ through $B$ to $C$, on which $D$ "
        "does not lie, is made of arc $AB$ with ${p}$ degrees and arc $BC$ with ${q}$ degrees.",
        "A circle passes through the vertices of quadrilateral $ABCD$. Its radius is unknown, but arc $AB$ "
        "has ${p}$ degrees and arc $BC$ has ${q}$ degrees. What is angle $ADC$, in degrees?",
    ),
    unseen=(
        "How large, in degrees, is the angle at $D$ in an inscribed quadrilateral $ABCD$ whose side $AB$ "
        "cuts off an arc of ${p}$ degrees and whose side $BC$ cuts off an arc of ${q}$ degrees?",
        "Going once around the rim of a round pond, one meets $A$, $B$, $C$, $D$ in this order. From $A$ to "
        "$B$ the rim spans ${p}$ degrees, from $B$ to $C$ it spans ${q}$ degrees. A visitor at $D$ looks at "
        "$A$ and then at $C$. What is the angle between the two directions, in degrees?",
    ),
)
SECANTS = Phrasings(
    trained=(
        "Two secants are drawn from a point $P$ outside a circle. Between them lie arcs of ${p}$ and ${q}$ "
        "degrees. How many degrees does the angle at $P$ have?",
        "A point $P$ lies outside a circle. Two lines through $P$ cut the circle, and of the arcs between "
        "the lines the far one measures ${p}$ degrees and the near one ${q}$ degrees. Determine the angle "
        "between the lines in degrees.",
        "Two lines through an exterior point $P$ enclose a far arc of ${p}$ degrees and a near arc of ${q}$ "
        "degrees of a circle. What angle, in degrees, do they form at $P$?",
        "If two secants of a circle meet outside it, the far arc between them has ${p}$ degrees, and the "
        "near arc has ${q}$ degrees, what is the angle between the secants in degrees?",
        "From $P$, which is neither on nor inside a circle, two secants intercept arcs of ${q}$ and ${p}$ "
        "degrees. Find the angle at $P$ in degrees.",
        "The radius of a circle is unknown. Two secants from an outside point $P$ intercept a larger arc of "
        "${p}$ degrees and a smaller arc of ${q}$ degrees. Compute the angle at $P$, in degrees.",
    ),
    unseen=(
        "How large, in degrees, is the angle with vertex $P$ outside a circle whose sides cut from the "
        "circle a far arc of ${p}$ degrees and a near arc of ${q}$ degrees?",
        "Outside a round lake stands a tower $P$. Two straight lines of sight from $P$ cross the lake; "
        "between them lie ${q}$ degrees of the near shore and ${p}$ degrees of the far shore. Give the "
        "angle between the lines in degrees.",
    ),
)
OPPOSITE = Phrasings(
    trained=(
        "Inside a circle, the chords $AC$ and $BD$ intersect at $P$, and angle $APB$ measures ${angle}$ "
        "degrees. If arc $AB$ measures ${p}$ degrees, how many degrees does arc $CD$ measure?",
        "The chords $AC$ and $BD$ of a circle cross at $P$. Arc $AB$ has ${p}$ degrees and angle $APB$ has "
        "${angle}$ degrees. Determine arc $CD$ in degrees.",
        "Two chords cross inside a circle. One of the angles between them has ${angle}$ degrees and faces "
        "an arc of ${p}$ degrees. How many degrees does the arc facing the vertical angle have?",
        "Angle $APB$, formed by the chords $AC$ and $BD$ that meet at $P$ inside a circle, is ${angle}$ "
        "degrees. Compute arc $CD$ in degrees if arc $AB$ is ${p}$ degrees.",
        "On a round table, two straight strings $AC$ and $BD$ run from edge to edge and cross at $P$ with "
        "angle $APB$ equal to ${angle}$ degrees. The edge from $A$ to $B$ spans ${p}$ degrees. How many "
        "degrees does the edge from $C$ to $D$ span?",
        "Suppose arc $AB$ of a circle has ${p}$ degrees, and the chords $AC$ and $BD$ meet inside it at $P$ "
        "such that angle $APB$ has ${angle}$ degrees. Give arc $CD$ in degrees.",
    ),
    unseen=(
        "What must arc $CD$ of a circle measure, in degrees, for the chords $AC$ and $BD$ to cross at a "
        "point $P$ with an angle $APB$ of ${angle}$ degrees, if arc $AB$ has ${p}$ degrees?",
        "A circle carries the points $A$, $B$, $C$, $D$ in this order, and $P$ is where $AC$ and $BD$ "
        "cross. Angle $APB$ has ${angle}$ degrees, and arc $AB$ has ${p}$. Find the number of degrees of "
        "arc $CD$.",
    ),
)
ARCS = (CROSSING, INSCRIBED, SECANTS, OPPOSITE)
SQUARE_CIRCLE = Phrasings(
    trained=(
        "{other} Compute {ask} exactly.",
        "{other} How large is {ask}? Do not round.",
        "Find {ask} in the following figure, exactly. {given}",
        "A drawing is not needed. {other} Determine {ask}.",
        "Picture the following. {given} Give {ask} in exact form.",
        "What is {ask} in this situation? {other}",
    ),
    unseen=("{third} Work out {ask}, in exact form.", "Exactly how large is {ask} here? {third}"),
)
Figure = tuple[
    tuple[str, str, str], str
]  # three ways to say what is given, the last never trained on; what is asked
FIGURES: tuple[Figure, ...] = (
    (
        (
            "A circle is inscribed in a square of side ${d}$.",
            "A square with sides of length ${d}$ has an inscribed circle.",
            "A circle touches all four sides of a square whose sides have length ${d}$.",
        ),
        "the area of the circle",
    ),
    (
        (
            "A square is inscribed in a circle of radius ${r}$.",
            "A circle of radius ${r}$ passes through all four corners of a square.",
            "The corners of a square lie on a circle whose radius is ${r}$.",
        ),
        "the area of the square",
    ),
    (
        (
            "A square of perimeter ${p}$ has an inscribed circle.",
            "A circle is inscribed in a square with perimeter ${p}$.",
            "A circle touches all four sides of a square whose perimeter is ${p}$.",
        ),
        "the area of the circle",
    ),
    (
        (
            "A circle of area ${area}$ is inscribed in a square.",
            "The circle inscribed in a square has area ${area}$.",
            "All four sides of a square touch a circle whose area is ${area}$.",
        ),
        "the area of the square",
    ),
    (
        (
            "A chord of length ${d}$ of a circle touches a smaller circle with the same center.",
            "Two circles have the same center, and a chord of the larger one has length ${d}$ and is "
            "tangent to the smaller one.",
            "Between two points of a circle runs a segment of length ${d}$ that just touches a smaller "
            "circle with the same center.",
        ),
        "the area between the circles",
    ),
    (
        (
            "A circle of radius ${r}$ is inscribed in a square.",
            "The circle inscribed in a square has radius ${r}$.",
            "All four sides of a square touch a circle whose radius is ${r}$.",
        ),
        "the area that lies inside the square and outside the circle",
    ),
    (
        (
            "A square is inscribed in a circle of radius ${r}$.",
            "A circle of radius ${r}$ passes through all four corners of a square.",
            "The corners of a square lie on a circle whose radius is ${r}$.",
        ),
        "the area that lies inside the circle and outside the square",
    ),
    (
        (
            "A circle of radius ${r}$ is inscribed in an equilateral triangle.",
            "The inscribed circle of an equilateral triangle has radius ${r}$.",
            "All three sides of an equilateral triangle touch a circle whose radius is ${r}$.",
        ),
        "the area of the triangle's circumscribed circle",
    ),
    (
        (
            "A square of side ${d}$ is filled by ${rows}$ rows of ${rows}$ equal circles that touch each "
            "other.",
            "In a square with sides of length ${d}$, equal circles are packed in ${rows}$ rows of ${rows}$, "
            "each touching its neighbors, and the outer ones touching the sides.",
            "Inside a square whose sides have length ${d}$ there are ${rows}$ rows of ${rows}$ equal "
            "circles, as large as they can be in such rows.",
        ),
        "the total area of the circles",
    ),
)
PARTS = Phrasings(
    trained=(
        "Triangle $ABC$ has points $D$ on $AB$ and $E$ on $AC$ with {points}. Which fraction of its area "
        "does {part} cover?",
        "Let $D$ lie on side $AB$ and $E$ on side $AC$ of triangle $ABC$ so that {points}. Find the ratio "
        "of the area of {part} to that of triangle $ABC$, as a fraction.",
        "If {points} for points $D$ and $E$ on the sides $AB$ and $AC$ of a triangle $ABC$, what fraction "
        "of the area belongs to {part}?",
        "A triangular garden $ABC$ is divided by a straight fence from $D$ on $AB$ to $E$ on $AC$, where "
        "{points}. What fraction of the area of the garden is {part}?",
        "Points $D$ and $E$ are marked on the sides $AB$ and $AC$ of a triangle $ABC$. We know that "
        "{points}, but not the lengths themselves. Determine the area of {part} as a fraction of the area "
        "of the triangle $ABC$.",
        "The area of triangle $ABC$ is $1$. Side $AB$ contains $D$ and side $AC$ contains $E$, with "
        "{points}. Compute the area of {part}.",
    ),
    unseen=(
        "How much of the area of triangle $ABC$, as a fraction, is {part} when $D$ is on $AB$, $E$ is on "
        "$AC$, {points}?",
        "A paper triangle $ABC$ is cut along the line from $D$ on $AB$ to $E$ on $AC$, where {points}. Give "
        "the area of {part} as a fraction of the area of the whole paper triangle.",
    ),
)
POINTS = (
    (
        "The altitudes from $A$ and $B$ meet at $P$.",
        "Let $P$ be the orthocenter of the triangle.",
        "The point $P$ is where the three altitudes cross.",
    ),
    (
        "The bisectors of the exterior angles at $A$ and $B$ meet at $P$.",
        "The lines that halve the exterior angles at $A$ and at $B$ intersect in the point $P$.",
        "Let $P$ be the excenter opposite $C$.",
    ),
    (
        "The bisectors of the angles at $A$ and $B$ meet at $P$.",
        "Let $P$ be the incenter of the triangle.",
        "The point $P$ is the center of the inscribed circle.",
    ),
    (
        "The circumcenter is $P$.",
        "Let $P$ be the center of the circumscribed circle.",
        "The point $P$ has equal distances to all three vertices.",
    ),
)
CENTERS = Phrasings(
    trained=(
        "A triangle $ABC$ has an angle of ${a}$ degrees at $A$ and one of ${b}$ degrees at $B$. {other} How "
        "many degrees does angle $APB$ have?",
        "The angles of triangle $ABC$ at $A$ and $B$ measure ${a}$ and ${b}$ degrees. {other} Determine "
        "angle $APB$ in degrees.",
        "What is angle $APB$, in degrees, in the following triangle $ABC$? Its angles at $A$ and $B$ are "
        "${a}$ and ${b}$ degrees. {point}",
        "Consider a triangle $ABC$ with $\\angle A = {a}^\\circ$ and $\\angle B = {b}^\\circ$. {point} "
        "Compute $\\angle APB$ in degrees.",
        "The side lengths of triangle $ABC$ are not known, but angle $B$ is ${b}$ and angle $A$ is ${a}$ "
        "degrees. {other} How large is angle $APB$, in degrees?",
        "Angle $A$ of triangle $ABC$ has ${a}$ degrees, and angle $B$ has ${b}$. {point} Give the size of "
        "angle $APB$ in degrees.",
    ),
    unseen=(
        "The corner $A$ of triangle $ABC$ has ${a}$ degrees, and the corner $B$ has ${b}$. {third} Under "
        "what angle, in degrees, is the side $AB$ seen from $P$?",
        "Draw triangle $ABC$ with ${b}$ degrees at $B$ and ${a}$ degrees at $A$. {third} State angle $APB$ "
        "in degrees.",
    ),
)
