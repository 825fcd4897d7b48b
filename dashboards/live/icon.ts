/** A wheel in a stream, so that browsers do not ask for /favicon.ico. */
export const PAGE_ICON = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16" fill="none" stroke="#1a5fb4" stroke-width="1.5">
<circle cx="8" cy="7" r="5"/><path d="M8 2v10M3 7h10M1 14q2-2 4 0t4 0 4 0 2 0"/>
</svg>
`
