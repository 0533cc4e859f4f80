/** C sources and headers are imported as text, to be compiled at start-up. */
declare module "*.c" {
  const source: string;
  export default source;
}

declare module "*.h" {
  const source: string;
  export default source;
}
