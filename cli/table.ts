/** Columns of text, as wide as they need to be: numbers to the right. Colour is put on after the widths are known. Pure. */
export interface Column<T> {
  readonly head: string
  readonly align?: 'right'
  readonly text: (row: T) => string
  /** Puts colour on the padded text. */
  readonly paint?: (text: string, row: T) => string
}

export function tableLines<T>(
  rows: readonly T[],
  columns: readonly Column<T>[],
  head: (text: string) => string = (text) => text,
): string[] {
  const cells = rows.map((row) => columns.map((column) => column.text(row)))
  const widths = columns.map((column, i) =>
    Math.max(column.head.length, ...cells.map((line) => line[i]!.length)),
  )
  const pad = (text: string, i: number): string => {
    if (columns[i]!.align === 'right') return text.padStart(widths[i]!)
    return i === columns.length - 1 ? text : text.padEnd(widths[i]!)
  }
  const first = columns.map((column, i) => head(pad(column.head, i))).join('  ')
  const lines = rows.map((row, r) =>
    columns
      .map((column, i) => {
        const text = pad(cells[r]![i]!, i)
        return column.paint === undefined ? text : column.paint(text, row)
      })
      .join('  '),
  )
  return [first, ...lines].map((line) => line.trimEnd())
}
