/** As much of a DOM as the status page's script uses, so that it can be run whole without a browser. */
export class TinyElement {
  readonly tag: string
  readonly dataset: Record<string, string> = {}
  children: TinyElement[] = []
  className = ''
  hidden = false
  scope = ''
  #text = ''

  constructor(tag: string) {
    this.tag = tag
  }

  get textContent(): string {
    return this.#text + this.children.map((child) => child.textContent).join(' ')
  }

  set textContent(text: string) {
    this.#text = text
    this.children = []
  }

  append(...added: TinyElement[]): void {
    this.children.push(...added)
  }

  replaceChildren(...added: TinyElement[]): void {
    this.#text = ''
    this.children = added
  }

  /** All elements of a tag below this one. */
  all(tag: string): TinyElement[] {
    return this.children.flatMap((child) => [...(child.tag === tag ? [child] : []), ...child.all(tag)])
  }
}

export class TinyDocument {
  title = ''
  readonly hidden = false
  readonly #byId: ReadonlyMap<string, TinyElement>

  constructor(ids: Iterable<string>) {
    this.#byId = new Map([...ids].map((id) => [id, new TinyElement('div')]))
  }

  getElementById(id: string): TinyElement {
    const found = this.#byId.get(id)
    if (found === undefined) throw new Error(`no element ${id}`)
    return found
  }

  createElement(tag: string): TinyElement {
    return new TinyElement(tag)
  }

  addEventListener(): void {}
}
